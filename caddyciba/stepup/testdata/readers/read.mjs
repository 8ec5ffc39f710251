// Reads bodies as programs in JavaScript do: one JSON object a line on standard
// input, with the media type and the body in base64, and one JSON array a line on
// standard output: [place, value] for each value, or null if the body is refused.
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import querystring from 'node:querystring';

function walk(value, place, out) {
  if (Array.isArray(value)) {
    value.forEach((item, index) => walk(item, [...place, String(index)], out));
  } else if (value !== null && typeof value === 'object') {
    for (const [name, member] of Object.entries(value)) walk(member, [...place, name], out);
  } else if (typeof value === 'number') {
    out.push([place, 'number ' + value]);
  } else if (typeof value === 'string') {
    out.push([place, 'text ' + value]);
  } else {
    out.push([place, String(value)]);
  }
}

function readForm(text) {
  if (process.argv[2] === 'legacy') {
    return Object.entries(querystring.parse(text)).map(([name, value]) => [[name], 'text ' + value]);
  }
  return [...new URLSearchParams(text)].map(([name, value]) => [[name], 'text ' + value]);
}

async function readMultipart(type, body) {
  const form = await new Response(body, { headers: { 'Content-Type': type } }).formData();
  const out = [];
  for (const [name, value] of form) {
    if (typeof value === 'string') {
      out.push([[name], 'text ' + value]);
    } else {
      const content = Buffer.from(await value.arrayBuffer());
      out.push([[name], `file ${content.length} ${createHash('sha256').update(content).digest('hex')}`]);
    }
  }
  return out;
}

async function read({ type, body }) {
  const bytes = Buffer.from(body, 'base64');
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  if (type === 'application/json') {
    const out = [];
    walk(JSON.parse(text.decode(bytes)), [], out);
    return out;
  }
  if (type.startsWith('application/x-www-form-urlencoded')) return readForm(text.decode(bytes));
  if (type.startsWith('multipart/')) return readMultipart(type, bytes);
  return null;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer = null;
  try {
    answer = await read(JSON.parse(line));
  } catch {
    answer = null;
  }
  console.log(JSON.stringify(answer));
}
