"""The calls of a till, against a running door."""

import pytest


async def test_status(house):
    r = await house.http.get("/v1/status")
    print(r.status_code, r.text)
    r = await house.http.post("/v1/contacts/identify", json={"identifier": {"type":"mobile_phone","value":"070-174 06 05"}})
    print(r.status_code, r.text, r.headers)


async def test_sale(house, sale):
    r = await house.http.post("/v1/transactions", json=sale(identifier={"type":"mobile_phone","value":"070-174 06 05"}))
    print(r.status_code, r.text)
    r = await house.http.post("/v1/transactions", json=sale(identifier={"type":"mobile_phone","value":"070-174 06 05"}))
    print(r.status_code, r.text)
    r = await house.http.get("/v1/transactions/1042-03-20260214-000187")
    print(r.status_code, r.text)
    for p in ("/v1/queue","/v1/transactions/1042-03-20260214-000187/story","/metrics","/healthz","/readyz","/openapi.json","/page/texts", "/v1/contacts/c_5f3a", "/v1/queue?limit=0&zip=3"):
        r = await house.admin.get(p)
        print(p, r.status_code, r.text[:600])
    for o in ("sync","flush","queue/1/retry"):
        r = await house.admin.post("/v1/"+o)
        print(o, r.status_code, r.text[:600])
    r = await house.admin.post("/v1/queue/1/discard", json={"reason":"x"})
    print(o, r.status_code, r.text[:600])
