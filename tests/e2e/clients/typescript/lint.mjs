// Says what a linter has to say of an OpenAPI document; nothing when all is well.
import { createConfig, lint } from "@redocly/openapi-core";

const config = await createConfig({ extends: ["recommended-strict"] });
const problems = await lint({ ref: process.argv[2], config });
for (const { ruleId, location, message } of problems) {
  console.log(`${ruleId}: ${location[0]?.pointer}: ${message}`);
}
process.exitCode = problems.length ? 1 : 0;
