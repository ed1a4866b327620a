// What jsmodbus is told: `node client.cjs PORT`, calls as JSON on standard input, what came of each on standard output.
"use strict";

const net = require("node:net");
const { ModbusTCPClient } = require("jsmodbus");

const calls = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const socket = net.connect(Number(process.argv[2]), "127.0.0.1");
const client = new ModbusTCPClient(socket, 1, 5000);

async function outcome([method, ...args]) {
  try {
    const { response } = await client[method](...args);
    const body = response.body;
    if (body.isException) return { exception: body.code };
    // Bits come in whole bytes.
    return { values: body.valuesAsArray ? Array.from(body.valuesAsArray).slice(0, args[1]) : "done" };
  } catch (error) {
    return error.response ? { exception: error.response.body.code } : { error: error.err ?? String(error) };
  }
}

socket.on("connect", async () => {
  // All at once: it queues them and sends them one after the other.
  console.log(JSON.stringify(await Promise.all(calls.map(outcome))));
  socket.end();
});
socket.on("error", (error) => {
  console.log(JSON.stringify([{ error: error.code }]));
});
