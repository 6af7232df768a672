"""Signatures against vectors that the vendor's own library made."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from agent.connectors.antavo.signing import Credentials, canonical_request, is_signable, sign, signature

CREDENTIALS = Credentials("AN1EXAMPLEKEY", "ZfExampleSecret/0+abc", "st2")
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
DATE, HOST = "20260115T103000Z", "api.st2.antavo.com"
CUSTOMER = "/customers/a222e90f-2c59-468d-9b81-62f560084379"
CHECKOUT = (
    b'{"customer":"a222e90f-2c59-468d-9b81-62f560084379","action":"checkout","data":'
    b'{"transaction_id":"S01-T02-000123","total":100.5,"currency":"EUR"}}'
)
PROFILE = '{"customer":"c1","action":"profile","data":{"first_name":"Åsa"}}'.encode()
NESTED = (
    "/v1/customers?filter%5Bcreated_at%5D%5Bgt%5D=2026-01-01&sort%5B0%5D%5Bfield%5D=created_at"
    "&sort%5B0%5D%5Bdirection%5D=asc"
)


def signed(method, target, body=b"", host=HOST, at=AT):
    return sign(CREDENTIALS, at, method, target, host=host, body=body)


@pytest.mark.parametrize(
    ("method", "target", "body", "host", "expected"),
    [
        pytest.param("GET", CUSTOMER, b"", HOST, "765bc74bc1681210109f8d77c983be1e3d7c58246d59ed1809c0ce9d395b4a8c",
                     id="1 a customer"),
        pytest.param("POST", "/events", CHECKOUT, HOST,
                     "c2dd45ba68c020cdea7b7d1b98b07846e2a8c99226cc8af7ea507fc6dbddf1db", id="2 a checkout"),
        pytest.param("GET", "/customers?mobile_phone=%2B46701234567&match=exact", b"", HOST,
                     "5d9a7a08f8a8024f7134af899a0258d8900c1cd4167f622db5070d0c3084ab6a", id="3 an encoded plus"),
        pytest.param("GET", "/customers?updated_at.gt=2026-01-14&limit=100&offset=0&fields=first_name%2Cemail", b"",
                     HOST, "fe0351399bcf3387599f9fe49c03019f520510f288a742c1101722ee36bac7b2", id="4 several, sorted"),
        pytest.param("GET", "/customers/sally%40example.com", b"", HOST,
                     "953c19b9bf6b5fc1329cf6366122f51f8f52d1c30599ab696e9f62179f0e0ee7", id="5 an encoded path"),
        pytest.param("GET", "/customers/-/events?timestamp.gt=2026-01-14T00:00:00.000%2B0000&limit=2", b"", HOST,
                     "131d761cf309100e5281e918ff91bad3b912008488d63324b387cf675890ad7c", id="6 an offset of a time"),
        pytest.param("POST", "/events", PROFILE, HOST,
                     "85d67fcc025eeb1d86d30c05457f109d7a8fcc627fe97e7b07b075036c06459e", id="7 a body in UTF-8"),
        pytest.param("POST", "/events", CHECKOUT, "127.0.0.1:8089",
                     "9ba52444b44539cd5a12a07909813ebe2ac3594c27579e9db888d45a9928899a", id="8 a port"),
        pytest.param("GET", "/customers?first_name=%C3%85sa%20M", b"", HOST,
                     "a1c1a622d5b14de49f4f2e8bb97bebbba5a404ac6345305b3a9e7eb0bfd75d5a", id="9 a name in UTF-8"),
        pytest.param("GET", NESTED, b"", HOST,
                     "c79be3fe62a5270d7150b4cd0cfdfed968534e0c7b5fb83ddf3dbc9b82e56dec", id="10 brackets"),
        pytest.param("GET", "/customers?x=a~b*c!d(e)", b"", HOST,
                     "537c9756d890e96a2f54ad0e5abe224b6612c410869971c7a8ecc07e4eb0b89b", id="11 marks"),
        pytest.param("GET", "/customers?email=a+b%40x.se", b"", HOST,
                     "4cf383d05f63b43351e845bb18740a06fdc24a8a9db0316f7db70d6621a3ed07", id="12 a raw plus"),
    ],
)  # fmt: skip
def test_the_vendors_vectors(method, target, body, host, expected):
    """Each request has the signature that the vendor's library gave it."""
    headers = signed(method, target, body, host)

    assert headers == {
        "Date": DATE,
        "Host": host,
        "Authorization": "ANTAVO-HMAC-SHA256 Credential=AN1EXAMPLEKEY/20260115/st2/api/antavo_request, "
        f"SignedHeaders=date;host, Signature={expected}",
    }


def test_the_canonical_request():
    """It is the vendor's, byte for byte."""
    assert canonical_request("get", CUSTOMER, date=DATE, host=HOST, body=b"") == (
        f"GET\n{CUSTOMER}\n\ndate:{DATE}\nhost:{HOST}\n\ndate;host\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


@pytest.mark.parametrize(
    ("target", "line", "canonical"),
    [
        ("/customers?mobile_phone=%2B46701234567&match=exact", 2, "match=exact&mobile_phone=%2046701234567"),
        ("/customers?x=a~b*c!d(e)", 2, "x=a~b%2Ac%21d%28e%29"),
        ("/customers?a=1=2", 2, "a=1"),
        ("/customers?flag", 2, "flag="),
        ("", 1, "/"),
        ("/a//b", 1, "/a/b"),
        ("/a/../b", 1, "/b"),
        ("/customers/a./events", 1, "/customers/aevents"),
        ("/customers/%7e", 1, "/customers/%7e"),
    ],
)
def test_the_forms_of_path_and_query(target, line, canonical):
    """Every quirk of the vendor's canonicaliser."""
    assert canonical_request("GET", target, date=DATE, host=HOST, body=b"").split("\n")[line] == canonical


def test_an_instant_of_another_zone():
    """It is signed in UTC."""
    assert signed("GET", "/", at=AT.astimezone(timezone(timedelta(hours=2)))) == signed("GET", "/")


@pytest.mark.parametrize(
    ("name", "signable"),
    [("a222e90f", True), ("a.b", True), ("alma@example.com", True), ("a.", False), ("a./b", False), ("../a", False)],
)
def test_ids_that_cannot_be_signed(name, signable):
    """An id that a signed path would turn into another's is known as such."""
    assert is_signable(name) is signable


def test_the_secret_never_shows():
    """Neither in a repr nor in what is sent."""
    assert CREDENTIALS.secret not in repr(CREDENTIALS) + str(dict(signed("GET", "/")))
    assert signature(CREDENTIALS, DATE, "x") != signature(Credentials("AN1EXAMPLEKEY", "other", "st2"), DATE, "x")
