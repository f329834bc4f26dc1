"use strict";
// Pays with a wallet in the browser: signs a transfer (EIP-3009) and asks for this page once more.
// A signature is money: it is kept until the gateway has said what became of it.
(() => {
  const at = (id) => document.getElementById(id);
  const say = (text) => { at("said").textContent = text; };
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const read = (field) => JSON.parse(new TextDecoder().decode(bytes(field)));
  const place = "tollkeep-proof:" + location.pathname + location.search;
  const isWallet = (offer) => offer.scheme === "exact" && offer.network.startsWith("eip155:")
    && !(offer.extra && offer.extra.assetTransferMethod);
  let offers = read(document.querySelector("main").dataset.required).accepts.filter(isWallet);
  const types = {
    EIP712Domain: [["name", "string"], ["version", "string"], ["chainId", "uint256"], ["verifyingContract", "address"]],
    TransferWithAuthorization: [["from", "address"], ["to", "address"], ["value", "uint256"],
      ["validAfter", "uint256"], ["validBefore", "uint256"], ["nonce", "bytes32"]],
  };
  const listed = (fields) => fields.map(([name, type]) => ({ name, type }));

  const sign = async (offer) => {
    const ask = (method, ...params) => window.ethereum.request({ method, params });
    const [from] = await ask("eth_requestAccounts");
    const chainId = Number(offer.network.slice("eip155:".length));
    if (Number(await ask("eth_chainId")) !== chainId) {
      await ask("wallet_switchEthereumChain", { chainId: "0x" + chainId.toString(16) });
    }
    const now = Math.floor(Date.now() / 1000);
    const random = crypto.getRandomValues(new Uint8Array(32));
    const nonce = "0x" + [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const authorization = {
      from, to: offer.payTo, value: offer.amount, validAfter: String(now - 600),
      // People look at what they sign.
      validBefore: String(now + offer.maxTimeoutSeconds + 300), nonce,
    };
    const typed = {
      types: {
        EIP712Domain: listed(types.EIP712Domain),
        TransferWithAuthorization: listed(types.TransferWithAuthorization),
      },
      primaryType: "TransferWithAuthorization",
      domain: { name: offer.extra.name, version: offer.extra.version, chainId, verifyingContract: offer.asset },
      message: authorization,
    };
    const signature = await ask("eth_signTypedData_v4", from, JSON.stringify(typed));
    return btoa(JSON.stringify({ x402Version: 2, accepted: offer, payload: { signature, authorization } }));
  };

  const show = async (answer) => {
    const kind = (answer.headers.get("content-type") || "").split(";")[0].trim().toLowerCase();
    const had = await answer.blob();
    at("had").replaceChildren();
    if (kind.startsWith("image/") && kind !== "image/svg+xml") {
      const image = document.createElement("img");
      image.src = URL.createObjectURL(had);
      at("had").append(image);
    } else if (kind.startsWith("text/") || kind.endsWith("json")) {
      at("had").textContent = await had.text();
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(had);
    link.download = location.pathname.split("/").pop() || "answer";
    link.textContent = "Save what you bought";
    at("save").replaceChildren(link);
    say("Paid.");
    for (const id of ["pay", "network"]) at(id).hidden = true;
  };

  const again = (text) => {
    say(text + " Your payment is kept: ask again with it, and don't pay anew.");
    at("pay").textContent = "Ask again";
  };

  const send = async (proof) => {
    let answer;
    try {
      answer = await fetch(location.pathname + location.search, {
        headers: { "PAYMENT-SIGNATURE": proof, accept: "*/*" }, cache: "no-store",
      });
    } catch {
      return again("The answer did not come.");
    }
    if (answer.ok) {
      sessionStorage.removeItem(place);
      return show(answer);
    }
    const told = await answer.json().catch(() => ({}));
    const words = told.detail || (told.error && told.error.message) || "It was refused.";
    if (answer.status === 409 || answer.status === 429 || answer.status >= 500) {
      return again(words);
    }
    sessionStorage.removeItem(place);
    const fresh = answer.headers.get("payment-required");
    if (fresh) offers = read(fresh).accepts.filter(isWallet);
    at("pay").textContent = "Pay with a wallet";
    say(words);
  };

  const pay = async () => {
    at("pay").disabled = true;
    try {
      let proof = sessionStorage.getItem(place);
      if (!proof) {
        if (!window.ethereum) return say("There is no wallet in this browser.");
        const offer = offers.find((one) => one.network === at("network").value) || offers[0];
        if (!offer) return say("None of the tokens can be paid with a wallet here.");
        say("Look at your wallet.");
        proof = await sign(offer);
        sessionStorage.setItem(place, proof);
      }
      say("Paying…");
      await send(proof);
    } catch (error) {
      say("Not paid: " + (error && error.message ? error.message : "the wallet refused"));
    } finally {
      at("pay").disabled = false;
    }
  };

  if (offers.length > 0) {
    for (const offer of offers) {
      const option = document.createElement("option");
      option.value = offer.network;
      option.textContent = at("network").dataset[offer.network.replace(":", "")] || offer.network;
      at("network").append(option);
    }
    at("network").hidden = offers.length < 2;
    at("pay").hidden = false;
    at("pay").addEventListener("click", pay);
    if (sessionStorage.getItem(place)) again("An earlier payment was not answered.");
  }
})();
