/**
 * A till's calls on types that were generated from the agent's OpenAPI document; `tsc --strict` has judged it.
 *
 * It prints what came as JSON: a name for each call, and what a till would go by.
 */
import { setTimeout as rest } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./loyalty-agent.js";

type Schemas = components["schemas"];
type Problem = Schemas["Problem"];
type Kept = { data?: Schemas["TransactionAccepted"]; error?: Problem; response: Response };

const AGENT = process.env["AGENT"] ?? "";

function connect(token: string) {
  return createClient<paths>({ baseUrl: AGENT, headers: { Authorization: `Bearer ${token}` } });
}

type Client = ReturnType<typeof connect>;

/** Until there is an answer: the same sale again, under the same transaction_id. */
async function record(client: Client, sale: Schemas["Transaction"]) {
  for (let waitMs = 500; ; waitMs = Math.min(2 * waitMs, 5_000)) {
    try {
      return await client.POST("/v1/transactions", { body: sale, signal: AbortSignal.timeout(10_000) });
    } catch {
      await rest(waitMs);
    }
  }
}

function there<T>(answer: { data?: T; error?: Problem }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

function refused(answer: { error?: Problem }) {
  if (answer.error === undefined) throw new Error("it was not refused");
  const { status, code, errors = [] } = answer.error;
  return [status, code, errors.map((fault) => fault.pointer).sort()];
}

function kept(answer: Kept) {
  const { duplicate, integration_key: key, served, messages } = there(answer);
  const told = messages.filter((message) => message.audience === "customer").map((message) => message.code);
  return [answer.response.status, duplicate, key && key.kind, served.level, told.sort()];
}

function phone(value: string): Schemas["IdentifierStatement"] {
  return { type: "mobile_phone", value };
}

function socks(kind: Schemas["Line"]["kind"] = "purchase"): Schemas["Line"] {
  const quantity = kind === "purchase" ? "2" : "-2";
  return { kind, sku: "SK-77-RED-M", name: "Wool socks", quantity, gross_paid: "250.00" };
}

function aSale(transaction_id: string, identifier: Schemas["IdentifierStatement"]): Schemas["Transaction"] {
  return {
    transaction_id,
    type: "purchase",
    occurred_at: new Date().toISOString(),
    currency: "SEK",
    total: "250.00",
    identifier,
    lines: [socks()],
    payments: [{ type: "card", amount: "250.00" }],
  };
}

/** The state that it tells: a stream has no end, so that it is read as it comes. */
async function firstEvent(client: Client): Promise<Schemas["OnlineState"]> {
  const { data } = await client.GET("/v1/events", { parseAs: "stream" });
  let text = "";
  for await (const part of data ?? []) {
    text += Buffer.from(part).toString();
    const event = /^event: status\ndata: (.*)\n\n/.exec(text);
    if (event?.[1] !== undefined) {
      const status: Schemas["StatusAnswer"] = JSON.parse(event[1]);
      return status.state;
    }
  }
  throw new Error("the stream has ended");
}

/** Somebody comes: who they are, what they can use, what they would earn. */
async function aMember(pos: Client, name: string, known: string) {
  const came: Record<string, unknown> = {};
  const who = there(await pos.POST("/v1/contacts/identify", { body: { identifier: phone(known) } }));
  if (who.outcome !== "matched" || !who.contact?.ref) throw new Error(who.outcome);
  came["identify"] = [who.served.source, who.contact["first_name"], who.allowed.earn];
  const ref = who.contact.ref;

  const path = { ref };
  const benefits = there(await pos.GET("/v1/contacts/{ref}/benefits", { params: { path } }));
  const worth = benefits.vouchers.flatMap((voucher) => (voucher.value === null ? [] : [voucher.value.amount]));
  came["benefits"] = [benefits.served.source, benefits.points && benefits.points.balance, worth];

  const [voucher] = benefits.vouchers;
  if (voucher === undefined) throw new Error("there is no voucher");
  const wanted = { ref, kind: "voucher", id: voucher.id, amount: "50.00", transaction_id: `${name}-1` } as const;
  const redeemed = there(await pos.POST("/v1/benefits/redeem", { body: wanted }));
  came["redeem"] = [redeemed.outcome, redeemed.reason];

  const preview = there(await pos.POST("/v1/points/preview", { body: { currency: "SEK", lines: [socks()] } }));
  came["preview"] = [preview.basis, preview.points];
  return came;
}

/** Sold, said again, said otherwise, said wrongly, brought back, cleared. */
async function sales(pos: Client, name: string, known: string) {
  const came: Record<string, unknown> = {};
  const sale = aSale(`${name}-1`, phone(known));
  came["sale"] = kept(await record(pos, sale));
  came["repeat"] = kept(await record(pos, sale));
  came["conflict"] = refused(await record(pos, { ...sale, currency: "NOK" }));
  const payments = [{ type: "card", amount: "all of it" } as const];
  came["wrong"] = refused(await record(pos, { ...sale, transaction_id: `${name}-2`, currency: "kr", payments }));

  came["return"] = kept(
    await record(pos, {
      ...sale,
      transaction_id: `${name}-3`,
      type: "return",
      original_transaction_id: `${name}-1`,
      total: "-250.00",
      lines: [socks("return")],
      payments: [{ type: "card", amount: "-250.00" }],
    }),
  );

  came["another"] = kept(await record(pos, { ...sale, transaction_id: `${name}-4` }));
  came["void"] = kept(
    await record(pos, {
      transaction_id: `${name}-5`,
      type: "void",
      occurred_at: new Date().toISOString(),
      currency: "SEK",
      total: "0.00",
      original_transaction_id: `${name}-4`,
    }),
  );

  return came;
}

/** Somebody joins, and has something changed. */
async function people(pos: Client, fresh: string) {
  const came: Record<string, unknown> = {};
  const person: Schemas["NewContact"] = {
    first_name: "Ylva",
    mobile_phone: fresh,
    preferences: { accepts_email: true },
    consents: [{ id: "memberTerms", value: true, given_at: new Date().toISOString(), place: "1042" }],
  };
  const joined = await pos.POST("/v1/contacts", { body: person });
  const taken = there(joined);
  came["joined"] = [joined.response.status, taken.state, taken.integration_key.kind];
  const changed = there(
    await pos.PATCH("/v1/contacts/{ref}", { params: { path: { ref: taken.ref } }, body: { last_name: "Torpmark" } }),
  );
  came["changed"] = [changed.state, changed.conflicts];
  return came;
}

/** How the agent is, a sale, the queue; and what is refused. */
async function state(pos: Client, admin: Client, name: string) {
  const came: Record<string, unknown> = {};
  const status = there(await pos.GET("/v1/status"));
  came["status"] = [status.state, status.level, status.sign.light, status.vendors.map((one) => one.vendor)];
  came["events"] = await firstEvent(pos);
  const stood = { params: { path: { transaction_id: `${name}-3` } } };
  const stands = there(await pos.GET("/v1/transactions/{transaction_id}", stood));
  came["stands"] = stands.deliveries.map((delivery) => delivery.vendor);
  const nothing = { params: { path: { transaction_id: "nothing" } } };
  came["unknown"] = refused(await pos.GET("/v1/transactions/{transaction_id}", nothing));
  came["stranger"] = refused(await connect("nobody").GET("/v1/status"));
  came["scope"] = refused(await pos.GET("/v1/queue"));
  const queue = there(await admin.GET("/v1/queue", { params: { query: { limit: 1000 } } }));
  came["queue"] = queue.entries.flatMap(({ transaction_id }) => (transaction_id === null ? [] : [transaction_id])).sort();
  const ordered = there(await admin.POST("/v1/flush"));
  came["flush"] = ordered.ordered;
  return came;
}

const [what, name = "", known = "", fresh = ""] = process.argv.slice(2);
const pos = connect(process.env["TOKEN"] ?? "");
if (what === "day") {
  const admin = connect(process.env["ADMIN"] ?? "");
  const morning = { ...(await aMember(pos, name, known)), ...(await sales(pos, name, known)) };
  const evening = { ...(await people(pos, fresh)), ...(await state(pos, admin, name)) };
  console.log(JSON.stringify({ ...morning, ...evening }));
} else {
  console.log(JSON.stringify(kept(await record(pos, aSale(name, phone(known))))));
}
