// An independent Cedar that answers over standard input and output: one JSON
// message a line, one answer for each, in order.
//
//   {"schema": text}                              keeps the schema
//   {"set": {"name": …, "policies": {id: text}}}  keeps a policy set
//   {"ask": request}                              decides; the request names its set
//   {"check": {id: text}}                         validates policies strictly

import { createInterface } from 'node:readline';
import cedar from '@cedar-policy/cedar-wasm/nodejs';

let schema;

function fail(answer) {
  if (answer.type === 'failure') {
    throw new Error(answer.errors.map((e) => e.message).join('; '));
  }
  return answer;
}

const messages = {
  schema(m) {
    schema = m.schema;
    fail(cedar.preparseSchema('schema', schema));
    return {};
  },
  set({ set }) {
    fail(cedar.preparsePolicySet(set.name, { staticPolicies: set.policies }));
    return {};
  },
  ask(m) {
    const { set, ...request } = m.ask;
    const { response } = fail(cedar.statefulIsAuthorized({
      ...request,
      preparsedPolicySetId: set,
      preparsedSchemaName: 'schema',
    }));
    return {
      decision: response.decision,
      reasons: response.diagnostics.reason.toSorted(),
      errors: response.diagnostics.errors.map((e) => e.policyId).toSorted(),
    };
  },
  check(m) {
    const answer = fail(cedar.validate({ schema, policies: { staticPolicies: m.check } }));
    return {
      invalid: byPolicy(answer.validationErrors),
      warned: byPolicy(answer.validationWarnings),
    };
  },
};

function byPolicy(findings) {
  const out = {};
  for (const { policyId, error } of findings) {
    (out[policyId] ??= []).push(error.message);
  }
  return out;
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let answer;
  try {
    const m = JSON.parse(line);
    answer = messages[Object.keys(m)[0]](m); // a message has one key
  } catch (e) {
    answer = { failure: String(e.message ?? e) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
