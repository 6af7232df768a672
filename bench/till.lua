-- What a till asks, for wrk. Arguments: what (accept or identify), token, how many members there are, and for
-- accept a word that makes the ids of this run its own.
local ask = {
  -- A sale of about 1 KB, each with an id of its own and a member of the replica.
  accept = [[{"transaction_id": "%s-%d", "type": "purchase", "receipt_number": "000187", "store_id": "1042", "till_id": "03", "cashier_id": "77", "occurred_at": "2026-02-14T16:41:09+01:00", "currency": "SEK", "total": "320.00", "identifier": {"type": "mobile_phone", "value": "+4670%07d"}, "lines": [{"kind": "purchase", "sku": "SK-77-RED-M", "article_number": "SK-77", "name": "Wool socks", "plu_class": "Socks", "quantity": "2", "unit_price": "140.00", "gross_paid": "250.00", "tax_amount": "50.00", "tax_percent": "25.00", "awards_points": true, "discounts": [{"type": "325", "description": "Member price", "amount": "30.00"}]}, {"kind": "purchase", "sku": "SK-12-BLUE-L", "article_number": "SK-12", "name": "Cotton scarf", "plu_class": "Scarves", "quantity": "1", "unit_price": "70.00", "gross_paid": "70.00", "tax_amount": "14.00", "tax_percent": "25.00", "awards_points": true}], "payments": [{"type": "card", "amount": "270.00"}, {"type": "voucher", "amount": "50.00", "reference": "0000000204417"}], "vouchers_used": [{"number": "0000000204417"}]}]],
  identify = [[{"identifier": {"type": "mobile_phone", "value": "+4670%07d"}}]],
}
local body, word, members, number = nil, nil, 1, 0

function init(args)
  body, members, word = ask[args[1]], tonumber(args[3]), args[4]
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. args[2]
  math.randomseed(1)
end

function request()
  number = number + 1
  local who = math.random(0, members - 1)
  if word then
    return wrk.format(nil, nil, nil, string.format(body, word, number, who))
  end
  return wrk.format(nil, nil, nil, string.format(body, who))
end

-- One JSON object on the last line.
function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '{"rate": %.1f, "p50_ms": %.4f, "p99_ms": %.4f, "refused": %d, "errors": %d}',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
