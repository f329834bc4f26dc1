// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.20;

interface IPermit2 {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata details,
        address owner,
        bytes32 witness,
        string calldata witnessType,
        bytes calldata signature
    ) external;
}

// Where the bench has its Permit2.
IPermit2 constant PERMIT2_AT = IPermit2(0x000000000022D473030F116dDEE9F6B43aC78BA3);

// Takes what was signed for scheme `exact`, all of it.
contract ExactProxy {
    struct Witness {
        address to;
        uint256 validAfter;
    }

    error PaymentTooEarly();

    function PERMIT2() external pure returns (address) {
        return address(PERMIT2_AT);
    }

    function settle(
        IPermit2.PermitTransferFrom calldata permit,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external {
        if (block.timestamp < witness.validAfter) revert PaymentTooEarly();
        bytes32 kind = keccak256("Witness(address to,uint256 validAfter)");
        PERMIT2_AT.permitWitnessTransferFrom(
            permit,
            IPermit2.SignatureTransferDetails(witness.to, permit.permitted.amount),
            owner,
            keccak256(abi.encode(kind, witness.to, witness.validAfter)),
            "Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,uint256 validAfter)",
            signature
        );
    }
}

// Takes so much of what was signed for scheme `upto` as the facilitator says that was signed for.
contract UptoProxy {
    struct Witness {
        address to;
        address facilitator;
        uint256 validAfter;
    }

    error PaymentTooEarly();
    error UnauthorizedFacilitator();
    error AmountExceedsPermitted();

    function PERMIT2() external pure returns (address) {
        return address(PERMIT2_AT);
    }

    function settle(
        IPermit2.PermitTransferFrom calldata permit,
        uint256 amount,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external {
        if (msg.sender != witness.facilitator) revert UnauthorizedFacilitator();
        if (amount > permit.permitted.amount) revert AmountExceedsPermitted();
        if (block.timestamp < witness.validAfter) revert PaymentTooEarly();
        bytes32 kind = keccak256("Witness(address to,address facilitator,uint256 validAfter)");
        PERMIT2_AT.permitWitnessTransferFrom(
            permit,
            IPermit2.SignatureTransferDetails(witness.to, amount),
            owner,
            keccak256(abi.encode(kind, witness.to, witness.facilitator, witness.validAfter)),
            "Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,address facilitator,uint256 validAfter)",
            signature
        );
    }
}

// Several reads at once: by it the facilitator finds out why something would fail.
contract Reads {
    struct Call {
        address target;
        bytes callData;
    }

    struct Result {
        bool success;
        bytes returnData;
    }

    function tryAggregate(bool mustSucceed, Call[] calldata calls) external payable returns (Result[] memory results) {
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; i++) {
            (bool success, bytes memory data) = calls[i].target.call(calls[i].callData);
            require(success || !mustSucceed, "call failed");
            results[i] = Result(success, data);
        }
    }
}
