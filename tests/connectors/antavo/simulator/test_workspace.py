"""The made-up workspace behaves as Antavo's pages and its published verifier say."""

from datetime import timedelta

import httpx
import pytest

from agent.connectors.antavo.signing import Credentials, sign
from agent.connectors.antavo.simulator import Fault
from tests.connectors.antavo.conftest import KEY, MEMBER, SECRET
from tests.connectors.mparticle.sales import NOW

CREDENTIALS = Credentials(KEY, SECRET, "st2")


@pytest.fixture
async def call(simulator):
    """Calls the workspace, signed; headers can be replaced, and left out with None."""
    _, running = simulator
    async with httpx.AsyncClient(base_url=running.url, verify=False) as http:

        async def call_(method, target, body=None, *, at=NOW, credentials=CREDENTIALS, **replaced):
            form = isinstance(body, bytes)
            request = http.build_request(method, target, json=None if form else body, content=body if form else None)
            host = request.headers["host"]
            headers = dict(sign(credentials, at, method, target, host=host, body=request.content)) | replaced
            request.headers.update({name: value for name, value in headers.items() if value is not None})
            return await http.send(request)

        yield call_


def altered(old, new):
    """A good header, altered."""
    headers = sign(CREDENTIALS, NOW, "GET", "/customers/-/count", host="x")
    assert old in headers["Authorization"]
    return headers["Authorization"].replace(old, new)


async def refusal(call, **how):
    answer = await call("GET", "/customers/-/count", **how)
    told = answer.json()["error"]
    return answer.status_code, told["type"], told["code"], told["message"]


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        pytest.param({"Authorization": None}, 0, "Escher authentication is missing", id="unsigned"),
        pytest.param({"Authorization": "Basic eA=="}, 101021, "Auth header format is invalid", id="another scheme"),
        pytest.param({"Authorization": altered(KEY, "a:b")}, 101021, "Auth header format is invalid", id="a bad key"),
        pytest.param({"Date": None}, 0, "The date header is missing", id="no date"),
        pytest.param({"Authorization": altered("date;host", "date")}, 0, "The host header is not signed", id="no host"),
        pytest.param({"Authorization": altered("date;host", "host")}, 0, "The date header is not signed", id="date"),
        pytest.param({"Authorization": altered("SHA256", "MD5")}, 0,
                     "Hash algorithm is invalid. Only SHA256 and SHA512 are allowed", id="another hash"),
        pytest.param({"Authorization": altered("20260214", "20260213")}, 0,
                     "Date in the authorization header is invalid. It must be the same as the date header", id="day"),
        pytest.param({"at": NOW + timedelta(seconds=301)}, 0,
                     "The request date is not within the accepted time range", id="ahead"),
        pytest.param({"at": NOW - timedelta(seconds=301)}, 0,
                     "The request date is not within the accepted time range", id="behind"),
        pytest.param({"credentials": Credentials(KEY, SECRET, "st1")}, 0, "Credential scope is invalid", id="scope"),
        pytest.param({"credentials": Credentials("other", SECRET, "st2")}, 0, "Invalid Escher key", id="key"),
        pytest.param({"credentials": Credentials(KEY, "other", "st2")}, 0, "The signatures do not match", id="secret"),
    ],
)  # fmt: skip
async def test_the_door(call, how, code, message):
    """Each check in the vendor's order, in its words."""
    assert await refusal(call, **how) == (401, "UnauthorizedException", code, message)


@pytest.mark.parametrize("seconds", [0, 300, -300])
async def test_what_is_let_in(call, seconds):
    """Five minutes either way are allowed."""
    answer = await call("GET", "/customers/-/count", at=NOW + timedelta(seconds=seconds))
    assert (answer.status_code, answer.json()) == (200, {"active": 1})
    assert answer.headers["content-type"].startswith("text/javascript")


async def test_a_body_that_was_altered(call, simulator):
    """The signature covers it."""
    sim, running = simulator
    signed = sign(CREDENTIALS, NOW, "POST", "/events", host=f"127.0.0.1:{running.port}", body=b"{}")
    answer = await call("POST", "/events", {"customer": MEMBER}, **signed)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "The signatures do not match")
    assert sim.received == []


async def test_the_body_of_a_question(call, simulator):
    """Only what is posted or put is covered."""
    _, running = simulator
    target = "/customers/-/count"
    signed = sign(CREDENTIALS, NOW, "GET", target, host=f"127.0.0.1:{running.port}")
    assert (await call("GET", target, {"a": 1}, **signed)).status_code == 200


def event(action, customer=MEMBER, **data):
    return {"customer": customer, "action": action, "data": data}


def checkout(name="t-1", *, points_burned=0, **item):
    items = [{"product_id": "A", "price": 60, "quantity": 2, "discount": 20, "subtotal": 100, **item}]
    return event("checkout", transaction_id=name, total=100, items=items, points_burned=points_burned)


def back(**data):
    return event("refund_item", **{"transaction_id": "t-1", "product_id": "A", "quantity": 1, "subtotal": 40, **data})


async def test_a_product_comes_back_once(call, simulator):
    """What is back already is not there to be given back."""
    sim, _ = simulator
    await call("POST", "/events", checkout())
    answers = [await call("POST", "/events", back(subtotal=10)) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert sim.given_back() == {"t-1": 2}


async def test_the_life_of_a_sale(call, simulator):
    """It counts, is shown, is given back in parts and as a whole."""
    sim, _ = simulator
    taken = await call("POST", "/events", checkout())
    shown = await call("GET", "/transactions/t-1")
    await call("POST", "/events", event("refund_item", transaction_id="t-1", product_id="A", quantity=1, subtotal=40))
    after = sim.member(MEMBER).score
    await call("POST", "/events", event("refund", transaction_id="t-1"))

    assert taken.json()["events"][0]["points"] == 100
    assert (shown.json()["status"], shown.json()["refunded"]) == ("accepted", 0)
    assert (after, sim.member(MEMBER).score, sim.transaction("t-1").status) == (60, 0, "refunded")


async def test_a_sale_that_has_to_be_accepted(call, simulator):
    """Its points wait, and no event tells of them."""
    sim, _ = simulator
    sim.books.accepts = True
    taken = await call("POST", "/events", checkout())
    waiting = sim.member(MEMBER).pending
    await call("POST", "/events", event("checkout_accept", transaction_id="t-1"))

    assert (taken.json()["events"], waiting) == ([], 100)
    assert (sim.member(MEMBER).score, sim.member(MEMBER).pending) == (100, 0)


@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        pytest.param(checkout(), 400, 5003, id="in use"),
        pytest.param(event("opt_in"), 400, 112101, id="a member already"),
        pytest.param(event("checkout", "nobody", transaction_id="t-2", total=1), 404, 160212, id="nobody"),
        pytest.param(event("checkout", "gone", transaction_id="t-2", total=1), 400, 160216, id="opted out"),
        pytest.param(event("checkout", total=1), 400, 0, id="no id"),
        pytest.param(event("checkout", transaction_id="t-2", total="x"), 400, 0, id="no total"),
        pytest.param(checkout("t-2", points_burned=101), 400, 120241, id="more points than there are"),
        pytest.param(event("refund", "other", transaction_id="t-1"), 400, 103902, id="another's"),
        pytest.param(event("refund", transaction_id="t-9"), 404, 0, id="no such sale"),
        pytest.param(event("refund_item", transaction_id="t-1", subtotal=0), 400, 112202, id="nothing given back"),
        pytest.param(event("refund_item", transaction_id="t-1", subtotal=101), 400, 112203, id="more than was paid"),
        pytest.param(back(product_id="B"), 400, 0, id="what was not bought"),
        pytest.param(back(quantity=3), 400, 0, id="more than was bought"),
        pytest.param(back(quantity=0), 400, 0, id="none of it"),
        pytest.param(checkout("t-2", price=61), 400, 0, id="a subtotal that is none"),
        pytest.param(checkout("t-2", subtotal=90, discount=30), 400, 0, id="a total that is none"),
        pytest.param(event("checkout_reject", transaction_id="t-1"), 400, 112201, id="accepted already"),
        pytest.param(event("dance"), 400, 0, id="no such action"),
        pytest.param({"customer": MEMBER}, 400, 0, id="no data"),
        pytest.param([], 400, 0, id="no event"),
    ],
)
async def test_what_is_refused(call, simulator, told, status, code):
    """With the vendor's number, by itself and in its place among others."""
    sim, _ = simulator
    sim.add_member("other")
    sim.add_member("gone", status="opted_out")
    await call("POST", "/events", checkout())

    alone = await call("POST", "/events", told)
    among = await call("POST", "/events/bulk", {"events": [told, checkout("t-3")]})

    assert (alone.status_code, alone.json()["error"]["code"]) == (status, code)
    assert [element.get("error", {}).get("code") for element in among.json()["results"]] == [code, None]
    assert (among.json()["total"], among.json()["errors"]) == (2, 1)
    assert sim.held() == {"t-1": 1, "t-3": 1}


async def test_the_life_of_a_member(call, simulator):
    """Made once under an id that is given, with a number among theirs, changed field by field, and made anew."""
    sim, _ = simulator
    made = event("opt_in", "m-1", membership_id="77", first_name="Bo", email="bo@example.com")
    assert (await call("POST", "/events", made)).json()["id"] == "m-1"
    assert (await call("POST", "/events", made)).json()["error"]["code"] == 112101
    sim.now = lambda: NOW + timedelta(seconds=60)
    assert (await call("POST", "/events", event("profile", "m-1", first_name="Bodil"))).status_code == 200
    shown = (await call("GET", "/customers/m-1")).json()
    assert (shown["first_name"], shown["email"], shown["membership_id"]) == ("Bodil", "bo@example.com", ["77"])
    assert shown["updated_at"] == NOW.timestamp() + 60
    found = await call("GET", "/customers?match=exact&membership_id=77")
    assert [row["id"] for row in found.json()["data"]] == ["m-1"]
    assert (await call("POST", "/events", event("profile", "m-2", first_name="Bo"))).json()["error"]["code"] == 160212
    sim.leave("m-1")
    assert (await call("POST", "/events", made)).status_code == 200


async def test_a_field_that_is_not_set_up(call, simulator):
    """Refused where the workspace is told to be strict: whether it is in reality is not documented."""
    sim, _ = simulator
    told = event("profile", first_name="Bo", shoes=38)
    assert (await call("POST", "/events", told)).status_code == 200
    sim.books.members.taken = frozenset({"first_name"})
    refused = await call("POST", "/events", told)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, 0)
    assert "shoes" in refused.json()["error"]["message"]


async def test_a_ghost(call, simulator):
    """With anonymous registration a mistyped id makes a member."""
    sim, _ = simulator
    sim.books.anonymous = True
    await call("POST", "/events", event("checkout", "typo", transaction_id="t-1", total=1))
    assert sim.member("typo").id == "typo"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("mobile_phone=%2B46701740605", [MEMBER]),
        ("mobile_phone=0701740605", []),
        ("email=alma%40example.com&match=exact", [MEMBER]),
        ("membership_id=77&match=exact", ["c-2"]),
        ("unsearchable=1", []),
    ],
)
async def test_searching(call, simulator, query, found):
    """Exact, by what is searchable, with the fields that are asked for."""
    sim, _ = simulator
    sim.add_member("c-2", membership_id=["76", "77"])
    answer = await call("GET", f"/customers?{query}&fields=email")
    assert [row["id"] for row in answer.json()["data"]] == found
    assert all("email" in row for row in answer.json()["data"])


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/customers?limit=2", 404, 160211),
        ("/customers?match=exact&mobile_phone=1", 400, 300122),
        ("/customers/nobody", 404, 160212),
        ("/transactions/t-9", 404, 0),
    ],
)
async def test_questions_without_an_answer(call, target, status, code):
    """Each with its number."""
    answer = await call("GET", target)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def coupon(action, code="CODE-1", customer=MEMBER):
    return {"customer": customer, "action": action, "data": {"code": code}}


async def test_the_life_of_a_coupon(call, simulator):
    """Used up and given back by its owner alone, and once; over by its own time. No event of a refusal counts."""
    sim, _ = simulator
    sim.add_member("c-2")
    sim.give(MEMBER, "CODE-1")
    sim.give(MEMBER, "OVER-1", expires_at=int(NOW.timestamp()))
    told = [
        coupon("coupon_redeem", customer="c-2"), coupon("coupon_unredeem"), coupon("coupon_redeem"),
        coupon("coupon_redeem"), coupon("coupon_unredeem"), coupon("coupon_redeem", "OVER-1"),
        coupon("coupon_redeem", "CODE-9"),
    ]  # fmt: skip
    answers = [await call("POST", "/events", event) for event in told]
    codes = [answer.json()["error"]["code"] if answer.status_code != 200 else None for answer in answers]
    assert codes == [1601, 0, None, 0, None, 0, 1601]
    assert [event["action"] for event in sim.books.applied] == ["coupon_redeem", "coupon_unredeem"]


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        ("", ["A-1", "A-2", "A-3"]),
        ("?status=claimed", ["A-1", "A-3"]),
        ("?code=A-2", ["A-2"]),
        ("?code=a-2", []),
        ("?type=percentage&value=10", ["A-3"]),
        ("?limit=1&offset=1", ["A-2"]),
    ],
)
async def test_listing_coupons(call, simulator, query, codes):
    """A customer's own, by exact filters, a page at a time; whose they are is not repeated."""
    sim, _ = simulator
    sim.add_member("c-2")
    sim.give(MEMBER, "A-1")
    sim.give(MEMBER, "A-2", status="redeemed")
    sim.give(MEMBER, "A-3", type="percentage", value=10)
    sim.give("c-2", "B-1")
    told = (await call("GET", f"/customers/{MEMBER}/coupons{query}")).json()
    assert [row["code"] for row in told["data"]] == codes
    assert (told["next"] is not None, [row for row in told["data"] if "customer" in row]) == ("limit" in query, [])


def refused(answer):
    return answer.json()["error"]["code"] if answer.status_code != 200 else None


async def test_the_life_of_a_reward(call, simulator):
    """Claimed as often as it may be, for points; each claim is revoked once, and by its own customer."""
    sim, _ = simulator
    sim.member(MEMBER).score = 250
    sim.add_member("c-2")
    sim.reward("r-1", max_claims=2)
    its = f"/customers/{MEMBER}/activities/rewards/r-1"
    claimed = [await call("POST", f"{its}/claim") for _ in range(3)]
    assert [refused(answer) for answer in claimed] == [None, None, 120211]
    assert "_actions" not in (await call("GET", its)).json()
    first = claimed[0].json()["id"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for customer, event, code in (
        ("c-2", first, 160340),
        (MEMBER, first, None),
        (MEMBER, first, 160344),
        (MEMBER, "e", 160340),
    ):
        target = f"/customers/{customer}/activities/rewards/r-1/revoke"
        assert refused(await call("POST", target, f"event={event}".encode(), **form)) == code
    assert (sim.rewards_of(MEMBER), sim.member(MEMBER).spendable) == (["r-1"], 150)
    sim.member(MEMBER).score = 100
    assert refused(await call("POST", f"{its}/claim")) == 120241
    told = (await call("GET", f"/customers/{MEMBER}/events?action=reward&order=desc&limit=1")).json()
    assert ([row["id"] for row in told["data"]], told["next"] is None) == ([claimed[1].json()["id"]], False)
    sim.forget()
    assert sim.books.rewards.by_id == {}


async def test_a_workspace_without_modules(call, simulator):
    """What is not switched on is not there."""
    sim, _ = simulator
    sim.books.coupons.module, sim.books.bonus = False, None
    for method, target in (("GET", f"/customers/{MEMBER}/coupons"), ("POST", "/extensions/automation/campaign-bonus")):
        answer = await call(method, target, {} if method == "POST" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, 0)
    assert (await call("POST", "/events", coupon("coupon_redeem"))).json()["error"]["code"] == 1601


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, {"base": 40, "bonus": 3, "points": 43}),
        ({"total": 41}, 0),
        ({"transaction_id": ""}, 0),
        ({"customer": "nobody"}, 160212),
        ({"action": "refund"}, 0),
    ],
    ids=["a cart", "sums that differ", "no name", "nobody", "no checkout"],
)
async def test_what_a_cart_would_earn(call, simulator, changes, told):
    """Its items' points and the campaign's, and nothing is taken."""
    sim, _ = simulator
    sim.books.bonus, sim.books.anonymous = 3, True
    items = [{"product_id": "SK-1", "price": 20, "quantity": 2, "discount": 0, "subtotal": 40}]
    data = {"transaction_id": "t-1", "total": 40, "items": items, **changes}
    event = {"customer": changes.get("customer", MEMBER), "action": changes.get("action", "checkout"), "data": data}
    body = (await call("POST", "/extensions/automation/campaign-bonus", event)).json()
    assert (body["data"]["purchase"] if "data" in body else body["error"]["code"]) == told
    assert (sim.books.transactions, set(sim.books.members.by_id)) == ({}, {MEMBER})


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({"customer": MEMBER, "action": "checkout", "data": {"transaction_id": "t-1", "total": 1}}, 200, None),
        ({"customer": MEMBER, "action": "point_spend", "data": {"points": 1}}, 400, 203404),
        ({"customer": MEMBER, "action": "checkout", "data": {}}, 400, 203401),
        ({"action": "checkout", "data": {"transaction_id": "t-1"}}, 400, 203401),
    ],
    ids=["queued", "another action", "nothing", "nobody"],
)
async def test_events_that_wait(simulator, event, status, code):
    """Tokens for clients alone; an event is queued under an id, and processed when somebody asks, or in time."""
    sim, running = simulator
    form = {"grant_type": "client_credentials", "scope": "loyalty.async_events"}
    async with httpx.AsyncClient(base_url=running.url, verify=False) as http:
        wrong = await http.post("/v1/auth/token", data=form, auth=(KEY, "other"))
        narrow = await http.post("/v1/auth/token", data={**form, "scope": "all"}, auth=(KEY, SECRET))
        token = (await http.post("/v1/auth/token", data=form, auth=(KEY, SECRET))).json()
        stranger = await http.post("/v1/async/events", json=event)
        http.headers["Authorization"] = f"Bearer {token['access_token']}"
        told = await http.post("/v1/async/events", json=event)
        unknown = await http.get("/v1/async/events/0")
        body = told.json()
        payload = body.get("payload", {})
        if payload:
            outcome = (await http.get(f"/v1/async/events/{payload['correlation_id']}")).json()["payload"]
            assert (payload["status"], outcome["status"], sim.held()) == ("queued", "processed", {"t-1": 1})

    assert (wrong.json()["details"]["code"], narrow.json()["details"]["code"]) == (220010, 220015)
    assert (stranger.status_code, unknown.json()["error"]["code"]) == (401, 203408)
    assert (told.status_code, body.get("error", {}).get("code")) == (status, code)


async def test_the_controls(simulator):
    """Members, faults, keys and what has happened, from outside and without a key."""
    sim, running = simulator
    async with httpx.AsyncClient(base_url=running.url, verify=False) as http:
        members = await http.post("/_sim/members", json={"c-2": {"email": "bo@example.com"}})
        given = await http.post("/_sim/coupons", json={"c-2": {"CODE-1": {"value": 20}, "CODE-2": {}}})
        nobody = await http.post("/_sim/coupons", json={"c-3": {"CODE-3": {}}})
        faults = await http.post("/_sim/faults", json={"add": [{"kind": "poison", "transaction_id": "t-1"}]})
        wrong = await http.post("/_sim/faults", json={"add": [{"kind": "earthquake"}]})
        keys = await http.post("/_sim/keys", json={"new": "secret"})
        state = await http.get("/_sim/state")
        events = await http.get("/_sim/events")
        await http.post("/_sim/reset")

    assert members.json() == {"active": 2}
    assert (given.json(), nobody.status_code, sim.books.coupons.by_code) == (["CODE-1", "CODE-2"], 400, {})
    assert (faults.json()[0]["kind"], wrong.status_code, keys.json()) == ("poison", 400, ["new"])
    assert (state.json()["members"], events.json()) == (2, [])
    assert (sim.keys, sim.faults, sim.books.members.by_id) == ({"new": "secret"}, [], {})


HEADER = "customer,action,transaction_id,total,product_id,price,quantity,discount,subtotal\n"
CHECKOUT = f"{MEMBER},checkout,t-1,250,,,,,\n"


def item(product, subtotal, quantity=1):
    price = f"{subtotal / quantity:g}"
    return f"{MEMBER},checkout_item,t-1,,{product},{price},{quantity},0,{subtotal}\n"


async def test_an_import(simulator, tmp_path):
    """A row is an event, in order; a refused one stops no other; what is no file of events stays."""
    sim, running = simulator
    (tmp_path / "b.csv").write_text(HEADER + f"{MEMBER},refund_item,t-1,,hat,,1,,50\n" + "nobody,checkout,t-2,9,,,,,\n")
    (tmp_path / "a.csv").write_text(HEADER + CHECKOUT + item("hat", 100, 2) + item("socks", 150))
    (tmp_path / "c.csv").write_text("who,what\n1,2\n")
    (tmp_path / ".d.csv.part").write_text(HEADER + CHECKOUT)
    async with httpx.AsyncClient(base_url=running.url, verify=False) as http:
        report = (await http.post("/_sim/imports", json={"folder": str(tmp_path)})).json()
        wrong = await http.post("/_sim/imports", json={"folder": str(tmp_path / "nowhere")})

    assert report == {"files": ["a.csv", "b.csv"], "rows": 4, "refused": [["b.csv", 3, 160212]], "failed": ["c.csv"]}
    assert sorted(file.name for file in tmp_path.iterdir()) == [".d.csv.part", "c.csv"]
    assert (sim.member(MEMBER).score, sim.given_back(), wrong.status_code) == (200, {"t-1": 1}, 400)


@pytest.mark.parametrize(
    ("row", "pending"),
    [
        pytest.param(item("hat", 100), False, id="a product that is there"),
        pytest.param(item("socks", 151), False, id="more than the checkout's total"),
        pytest.param(item("", 10), False, id="no product"),
        pytest.param(item("socks", 10).replace(",0,10", ",0,11"), False, id="a sum that is none"),
        pytest.param(item("socks", 10).replace(MEMBER, "c-2"), False, id="somebody else's"),
        pytest.param(item("socks", 10), True, id="one that is taken"),
    ],
)
def test_a_product_behind_its_checkout(simulator, tmp_path, row, pending):
    """It counts once, and within what the checkout came to; while that waits to be accepted, its points do."""
    sim, _ = simulator
    sim.books.accepts = pending
    sim.add_member("c-2")
    (tmp_path / "a.csv").write_text(HEADER + CHECKOUT + item("hat", 100) + row)
    assert len(sim.run_import(tmp_path).refused) == (0 if pending else 1)
    member = sim.member(MEMBER)
    assert (member.score, member.pending) == ((0, 110) if pending else (100, 0))


@pytest.mark.parametrize("members", [{"kind": "poison"}, {"kind": "drop", "transaction_id": "t-1"}])
def test_a_fault_that_cannot_be(members):
    """Single events are named by their transaction, requests are not."""
    with pytest.raises(ValueError, match="transaction_id"):
        Fault(**members)
