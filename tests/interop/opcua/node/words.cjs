// What client.cjs and server.cjs share: certificates, and values as JSON that both makes of peers agree on.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { OPCUACertificateManager, DataType, StatusCodes } = require("node-opcua");

const der = (file) =>
  Buffer.from(fs.readFileSync(file, "ascii").replace(/-----END[^]*/, "").replace(/-----BEGIN.*/, ""), "base64");

// A certificate store in a folder of the caller. It knows the authorities, their revocation lists, and takes what they vouch for.
const stores = {};

const store = ({ folder, authorities, crls }) => (stores[folder] ??= opened(folder, authorities, crls));

async function opened(folder, authorities, crls) {
  const manager = new OPCUACertificateManager({
    rootFolder: path.join(folder, "pki"),
    automaticallyAcceptUnknownCertificate: true,
  });
  await manager.initialize();
  for (const file of authorities) await manager.addIssuer(der(file), false, true);
  for (const file of crls) await manager.addRevocationList(der(file));
  return manager;
}

// The first certificate of a PEM file, in a file of its own: chains of EC authorities are not sent along.
function leaf(file, folder) {
  const text = fs.readFileSync(file, "ascii");
  const end = "-----END CERTIFICATE-----";
  const alone = path.join(folder, path.basename(file));
  fs.writeFileSync(alone, text.slice(0, text.indexOf(end) + end.length) + "\n");
  return alone;
}

function plain(value, type) {
  if (value === null || value === undefined) return null;
  if (type === DataType.Int64 || type === DataType.UInt64) {
    const whole = (BigInt(value[0] >>> 0) << 32n) | BigInt(value[1] >>> 0);
    return String(type === DataType.Int64 ? BigInt.asIntN(64, whole) : whole);
  }
  if (type === DataType.Guid) return String(value).toLowerCase();
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (Buffer.isBuffer(value)) return value.toString("hex");
  if (value instanceof Date) return value.toISOString();
  if (type === DataType.LocalizedText) return [value.locale, value.text];
  if (type === DataType.QualifiedName) return [value.namespaceIndex, value.name];
  if (type === DataType.ExtensionObject) return value.constructor.name;
  if (type === DataType.NodeId || type === DataType.ExpandedNodeId) return value.toString().replace(/^ns=0;/, "");
  return typeof value === "object" ? value.toString() : value;
}

// [type, value] of a Variant; arrays of the types that it keeps in typed arrays become lists.
function variant(given) {
  if (!given || given.dataType === DataType.Null) return null;
  const type = given.dataType;
  const value =
    given.value !== null && given.arrayType !== 0
      ? Array.from(given.value, (one) => plain(one, type))
      : plain(given.value, type);
  return [DataType[type], value];
}

const code = (status) => (status ? status.value : StatusCodes.Good.value);

const time = (date) => (date ? date.toISOString() : null);

// A DataValue: status code, type and value, both timestamps.
const dataValue = (given) => ({
  status: code(given.statusCode),
  value: variant(given.value),
  source: time(given.sourceTimestamp),
  server: time(given.serverTimestamp),
});

module.exports = { store, leaf, variant, plain, code, time, dataValue };
