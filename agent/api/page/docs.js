// Renders /openapi.json for reading. Loads nothing from anywhere else: a till has no internet.

const make = (tag, content = "", attributes = {}) => {
  const made = document.createElement(tag);
  made.textContent = content;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

let schemas = {};

function name(schema) {
  if (!schema || schema === true) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(name).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `[${name(schema.items ?? schema.prefixItems?.[0])}]`;
  if (Array.isArray(schema.type)) return schema.type.join(" | ");
  return schema.format ?? schema.type ?? "anything";
}

function content(part) {
  const [media, body] = Object.entries(part?.content ?? {})[0] ?? [];
  return media ? { media, schema: name(body.schema) } : null;
}

function link(label) {
  const found = label.match(/[A-Za-z]+/g)?.find((word) => word in schemas);
  const code = make("code", label);
  if (!found) return code;
  const anchor = make("a", "", { href: `#schema-${found}` });
  anchor.append(code);
  return anchor;
}

function table(rows) {
  const made = make("table");
  for (const cells of rows) {
    const row = make("tr");
    for (const cell of cells) {
      const place = make("td");
      place.append(cell);
      row.append(place);
    }
    made.append(row);
  }
  return made;
}

function drawCall(path, verb, call) {
  const made = make("article", "", { id: call.operationId });
  const head = make("h3");
  head.append(make("span", `${verb.toUpperCase()} `, { class: "verb" }), make("code", path));
  const scope = call["x-scope"] ? `token: ${call["x-scope"]}` : "no token";
  made.append(head, make("p", `${call.summary} · ${scope}`, { class: "scope" }));
  made.append(make("p", call.description ?? "", { class: "description" }));
  if (call.parameters) {
    made.append(make("h4", "Parameters"));
    made.append(table(call.parameters.map((one) => [make("code", one.name), one.in, link(name(one.schema)), one.description ?? ""])));
  }
  const body = content(call.requestBody);
  if (body) {
    made.append(make("h4", "Body"));
    made.append(link(body.schema));
  }
  made.append(make("h4", "Answers"));
  made.append(table(Object.entries(call.responses).map(([status, answer]) => {
    const what = content(answer);
    return [make("code", status), answer.description, what ? link(what.schema) : ""];
  })));
  return made;
}

function drawSchema(title, schema) {
  const made = make("article", "", { id: `schema-${title}` });
  made.append(make("h3", title), make("p", schema.description ?? "", { class: "description" }));
  if (schema.enum) made.append(make("p", schema.enum.join(", ")));
  if (schema.anyOf) made.append(make("p", name(schema)));
  const needed = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length) {
    made.append(table(fields.map(([field, kind]) => [
      make("code", field), link(name(kind)), needed.has(field) ? "required" : "", kind.description ?? "",
    ])));
  }
  return made;
}

const api = await (await fetch("/openapi.json")).json();
schemas = api.components.schemas;
document.getElementById("about").textContent = `${api.info.title} ${api.info.version}. ${api.info.description}`;
const list = make("ul");
const main = document.getElementById("main");
main.append(make("h2", "Calls"));
for (const [path, calls] of Object.entries(api.paths)) {
  for (const [verb, call] of Object.entries(calls)) {
    const entry = make("li");
    const anchor = make("a", `${verb.toUpperCase()} ${path}`, { href: `#${call.operationId}` });
    entry.append(anchor);
    list.append(entry);
    main.append(drawCall(path, verb, call));
  }
}
document.getElementById("calls").append(list);
main.append(make("h2", "Bodies"));
for (const [title, schema] of Object.entries(schemas).sort()) main.append(drawSchema(title, schema));
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
