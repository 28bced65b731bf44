// Uses the official client against the server at argv[2] with the key argv[3], and
// prints what it made of the answers.
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.argv[2] + '/v1', apiKey: process.argv[3] });
const messages = [{ role: 'user', content: 'hello wasps' }];
const out = {};

async function failure(f) {
  try {
    await f();
    return 'no error';
  } catch (e) {
    return `${e.constructor.name} ${e.status} ${e.type} ${e.code} ${e.param}`;
  }
}

async function text(stream) {
  let said = '';
  for await (const chunk of stream) said += chunk.choices[0]?.delta?.content ?? '';
  return said;
}

const models = [];
for await (const m of client.models.list()) models.push(m.id);
out.models = models.slice(0, 2);
out.model = (await client.models.retrieve('echo')).object;

const { data, response } = await client.chat.completions.create({ model: 'echo', messages }).withResponse();
out.create = `${data.choices[0].message.content} ${data.choices[0].finish_reason} ${data.usage.total_tokens}`;
out.session = response.headers.get('x-session-id') === data.metadata.session_id;

const next = await client.chat.completions.create({ model: 'echo', messages, metadata: { session_id: data.metadata.session_id } });
out.continued = next.metadata.turn;

const runner = client.chat.completions.stream({ model: 'echo', messages, stream_options: { include_usage: true } });
out.stream = (await runner.finalChatCompletion()).choices[0].message.content;
out.streamUsage = (await runner.totalUsage()).total_tokens;

out.plainStream = await text(await client.chat.completions.create({ model: 'echo', messages, stream: true }));
out.suspended = (await client.chat.completions.create({ model: 'approve', messages })).choices[0].message.content;

out.failed = await failure(() => client.chat.completions.create({ model: 'fail', messages }));
out.failedStream = await failure(async () => text(await client.chat.completions.create({ model: 'fail', messages, stream: true })));
out.noModel = await failure(() => client.chat.completions.create({ model: 'nobody', messages }));
out.tools = await failure(() => client.chat.completions.create({ model: 'echo', messages, tools: [{ type: 'function', function: { name: 'f' } }] }));
out.wrongKey = await failure(() => new OpenAI({ baseURL: client.baseURL, apiKey: 'wrong' }).models.list());

console.log(JSON.stringify(out));
