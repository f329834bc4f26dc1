"""Every vector gets its verdict, and its reason: python3 -m unittest -v"""

import base64
import json
import pathlib
import unittest

from tollkeep_origin import Refused, Verifier, verify_bolthub

VECTORS = json.loads(pathlib.Path(__file__).parent.with_name("vectors.json").read_text())


def reason_of(check):
    try:
        check()
    except Refused as refused:
        return refused.reason
    return None


def v1(case, signature=None, **kept):
    received = case["received"]
    verifier = Verifier(case["keys"], **kept)
    headers = [*received["headers"].items(), ("X-Tollkeep-Signature", signature or case["signature_header"])]

    def check():
        return verifier.verify(
            method=received["method"],
            authority=received["authority"],
            target=received["target"],
            headers=headers,
            body=base64.b64decode(received["body_b64"]),
            now=case["verify_at"],
        )

    for _ in case["seen_nonces"]:
        check()
    return reason_of(check)


class Vectors(unittest.TestCase):
    def test_v1(self):
        cases = VECTORS["tollkeep_v1"]["cases"]
        self.assertEqual(len(cases), 27)
        for case in cases:
            with self.subTest(case["name"]):
                self.assertEqual(v1(case), case["reason"])

    def test_v1_has_one_form(self):
        case = VECTORS["tollkeep_v1"]["cases"][3]
        good = case["signature_header"]
        for old, new in [
            (",n=", ", n="),
            ("t=1795312800,n=", "n=1795312800,t="),
            (",v1=", ",x=1,v1="),
            ("t=1", "t=01"),
            ("t=1", "t=\u0661"),
            ("n=A", "n=AA"),
            ("k=k2026a", "k="),
            ("h=content-type", "h=Content-Type"),
            ("h=content-type;x-request-id", "h=x-request-id;content-type"),
            ("h=content-type;", "h=content-type;content-type;"),
            ("b=0b", "b=0B"),
        ]:
            bad = good.replace(old, new, 1)
            with self.subTest(bad):
                self.assertNotEqual(bad, good)
                self.assertEqual(v1(case, bad.encode()), "malformed")
        self.assertEqual(v1(case, good + "\n"), "malformed")
        self.assertEqual(v1(case, nonces_max=0), "replayed")

    def test_bolthub(self):
        cases = VECTORS["bolthub"]["cases"]
        self.assertEqual(len(cases), 24)
        for case in cases:
            with self.subTest(case["name"]):
                reason = reason_of(
                    lambda: verify_bolthub(
                        secrets=case["secrets"],
                        method=case["method"],
                        path=case["verifier_path"],
                        headers=case["headers"],
                        body=base64.b64decode(case["body_b64"]),
                        now_ms=case["verify_at_ms"],
                    )
                )
                self.assertEqual(reason is None, case["valid"], reason)


if __name__ == "__main__":
    unittest.main()
