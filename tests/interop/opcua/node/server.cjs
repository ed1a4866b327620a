// An OPC UA server of another make, with the nodes of gateway/demo/opcua_nodes.py and of ../specimens.json.
// `node server.cjs '{"port", "certificate", "key", "folder", "seen", "reads"}'` says "ready" on standard output; ends with its input.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const {
  OPCUAServer, SecurityPolicy, MessageSecurityMode, Variant, VariantArrayType, DataType, StatusCodes, coerceNodeId,
  LocalizedText, QualifiedName, DataValue, coerceInt64, coerceUInt64,
} = require("node-opcua");
const { store, leaf, plain, variant } = require("./words.cjs");

const asked = JSON.parse(process.argv[2]);
const NAMESPACE = "urn:demo.example:tank-farm";
const FIXED = new Date("2026-01-01T00:00:00.500Z");
const POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"];

// What it saw, one JSON object for each item, written before anything is done.
const seen = asked.seen ? fs.openSync(asked.seen, "a") : null;
let name = (id) => id.toString();

function note(what) {
  if (seen !== null) fs.writeSync(seen, JSON.stringify({ t: Date.now() / 1000, ...what }) + "\n");
}

const SEEN = {
  ReadRequest: (r) => (asked.reads ? r.nodesToRead.map((i) => ({ node: name(i.nodeId), attribute: i.attributeId })) : []),
  WriteRequest: (r) =>
    r.nodesToWrite.map((i) => ({
      node: name(i.nodeId), attribute: i.attributeId, value: (variant(i.value.value) || [null, null])[1],
    })),
  BrowseRequest: (r) => r.nodesToBrowse.map((i) => ({ node: name(i.nodeId) })),
  HistoryReadRequest: (r) => r.nodesToRead.map((i) => ({ node: name(i.nodeId) })),
  HistoryUpdateRequest: () => [{}],
  CallRequest: (r) =>
    r.methodsToCall.map((i) => ({
      object: name(i.objectId), method: name(i.methodId),
      arguments: (i.inputArguments || []).map((one) => (variant(one) || [null, null])[1]),
    })),
  CreateMonitoredItemsRequest: (r) =>
    r.itemsToCreate.map((i) => ({
      node: name(i.itemToMonitor.nodeId), attribute: i.itemToMonitor.attributeId, subscription: r.subscriptionId,
      sampling_ms: i.requestedParameters.samplingInterval,
    })),
  CreateSubscriptionRequest: (r) => [{ publishing_ms: r.requestedPublishingInterval }],
  TranslateBrowsePathsToNodeIdsRequest: (r) => r.browsePaths.map((i) => ({ node: name(i.startingNode) })),
  RegisterNodesRequest: (r) => r.nodesToRegister.map((i) => ({ node: name(i) })),
  AddNodesRequest: () => [{}],
  DeleteSubscriptionsRequest: (r) => r.subscriptionIds.map((what) => ({ what })),
  TransferSubscriptionsRequest: (r) => r.subscriptionIds.map((what) => ({ what })),
  CreateSessionRequest: (r) => [{ application: r.clientDescription.applicationUri, name: r.sessionName }],
  ActivateSessionRequest: (r) => [{ user: r.userIdentityToken?.userName ?? "anonymous" }],
  CloseSessionRequest: () => [{}],
};

function made(one) {
  const type = DataType[one.type];
  const of = (value) => {
    if (value === null) return null;
    switch (one.type) {
      case "Int64": return coerceInt64(value);
      case "UInt64": return coerceUInt64(value);
      case "Double": return value === "Infinity" ? Infinity : value;
      case "DateTime": return new Date(value);
      case "ByteString": return Buffer.from(value, "hex");
      case "NodeId": return coerceNodeId(value);
      case "LocalizedText": return new LocalizedText({ locale: value[0], text: value[1] });
      case "QualifiedName": return new QualifiedName({ namespaceIndex: value[0], name: value[1] });
      default: return value;
    }
  };
  if (one.value === null && !["String"].includes(one.type)) return new Variant();
  return one.array
    ? new Variant({ dataType: type, arrayType: VariantArrayType.Array, value: one.value.map(of) })
    : new Variant({ dataType: type, arrayType: VariantArrayType.Scalar, value: of(one.value) });
}

function specimens(space, ns, objects) {
  const folder = ns.addObject({ organizedBy: objects, browseName: "Specimen", nodeId: "s=Specimen" });
  for (const one of JSON.parse(fs.readFileSync(path.join(__dirname, "..", "specimens.json"), "utf8"))) {
    const node = ns.addVariable({
      componentOf: folder, browseName: one.name, nodeId: `s=${one.id ?? `Specimen.${one.name}`}`, dataType: DataType[one.type],
      valueRank: one.array ? 1 : -1, arrayDimensions: one.array ? [0] : undefined,
      accessLevel: one.writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
      userAccessLevel: one.writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
    });
    node.setValueFromSource(made(one), StatusCodes[one.status || "Good"], FIXED);
  }
  const counter = ns.addVariable({ componentOf: folder, browseName: "Counter", nodeId: "s=Specimen.Counter", dataType: "UInt32" });
  let count = 0;
  const show = () => counter.setValueFromSource({ dataType: "UInt32", value: count++ });
  show();
  const timer = setInterval(show, 100);
  const past = ns.addVariable({ componentOf: folder, browseName: "Past", nodeId: "s=Specimen.Past", dataType: "Double" });
  past.historizing = true;
  space.installHistoricalDataNode(past, { maxOnlineValues: 1000 });
  for (let second = 0; second < 100; second++) {
    past.setValueFromSource({ dataType: "Double", value: second / 2 }, StatusCodes.Good, new Date(+FIXED + 1000 * second));
  }
  return timer;
}

const TANK = [
  ["Level", "Double", 42.0], ["Temperature", "Double", 23.0], ["FlowIn", "Float", 0.0], ["Total", "UInt32", 1250000],
  ["HighLevel", "Boolean", false],
  ["LevelSetpoint", "Double", 60.0, [0, 100]], ["PumpSpeedSetpoint", "Double", 80.0, [0, 100]],
  ["BatchVolume", "Float", 2.5, [0, 50]], ["Recipe", "UInt16", [101, 250, 75, 900, 12, 0, 4, 3600, 18, 7], [0, 65535]],
  ["PumpRun", "Boolean", true, [0, 1]], ["ValveOpen", "Boolean", true, [0, 1]], ["Maintenance", "Boolean", false, [0, 1]],
];

function tank(ns, objects) {
  const held = {};
  const object = ns.addObject({ organizedBy: objects, browseName: "Tank", nodeId: "s=Tank" });
  for (const [browseName, dataType, first, limits] of TANK) {
    const access = limits ? "CurrentRead | CurrentWrite" : "CurrentRead";
    const node = ns.addVariable({
      componentOf: object, browseName, nodeId: `s=Tank.${browseName}`, dataType, accessLevel: access, userAccessLevel: access,
      valueRank: Array.isArray(first) ? 1 : -1, arrayDimensions: Array.isArray(first) ? [0] : undefined,
    });
    const show = (value) =>
      node.setValueFromSource({ dataType, arrayType: Array.isArray(first) ? VariantArrayType.Array : VariantArrayType.Scalar, value });
    show(first);
    held[browseName] = show;
    if (limits) {
      const write = node.writeValue.bind(node);
      node.writeValue = (context, value, ...rest) => {
        const given = value.value?.value;
        const all = given?.length === undefined ? [Number(given)] : Array.from(given);
        if (all.some((one) => one < limits[0] || one > limits[1])) {
          const callback = rest[rest.length - 1];
          if (typeof callback === "function") return callback(null, StatusCodes.BadOutOfRange);
          return Promise.resolve(StatusCodes.BadOutOfRange);
        }
        return write(context, value, ...rest);
      };
    }
  }
  const double = (n) => ({ name: n, dataType: DataType.Double, description: { text: n } });
  const method = (browseName, takes, gives, does) => {
    const node = ns.addMethod(object, {
      browseName, nodeId: `s=Tank.${browseName}`, inputArguments: takes.map(double), outputArguments: gives.map(double),
    });
    node.bindMethod((given, context, callback) => does(given.map((one) => one.value), (statusCode, ...values) =>
      callback(null, { statusCode, outputArguments: values.map((value) => ({ dataType: DataType.Double, value })) })));
  };
  method("StartBatch", ["Volume"], ["Seconds"], ([volume], end) => {
    if (volume < 0.1 || volume > 5) return end(StatusCodes.BadInvalidArgument);
    held.BatchVolume(volume);
    return end(StatusCodes.Good, (volume / 60) * 3600);
  });
  method("ResetTotal", [], [], (_, end) => {
    held.Total(0);
    end(StatusCodes.Good);
  });
  method("SelfTest", ["Seconds"], ["Result"], ([seconds], end) =>
    setTimeout(() => end(StatusCodes.Good, 0), Math.min(5, Math.max(0, seconds)) * 1000));
}

async function main() {
  fs.mkdirSync(asked.folder, { recursive: true });
  const server = new OPCUAServer({
    port: asked.port, host: "127.0.0.1", hostname: "127.0.0.1", resourcePath: "/tank-farm",
    certificateFile: leaf(asked.certificate, asked.folder), privateKeyFile: asked.key,
    serverCertificateManager: await store(asked),
    securityPolicies: POLICIES.map((one) => SecurityPolicy[one]), securityModes: [MessageSecurityMode.SignAndEncrypt],
    allowAnonymous: true, serverInfo: { applicationUri: asked.uri },
    userManager: { isValidUser: (user, password) => (asked.passwords || {})[user] === password },
    serverCapabilities: { maxSessions: 100, minSupportedSampleRate: 10 }, maxConnectionsPerEndpoint: 100,
    defaultSecureTokenLifetime: 3600000,
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const ns = space.registerNamespace(NAMESPACE);
  name = (id) => id.toString().replace(`ns=${ns.index};`, `nsu=${NAMESPACE};`).replace(/^ns=0;/, "");
  const objects = space.rootFolder.objects;
  tank(ns, objects);
  const timer = specimens(space, ns, objects);
  server.on("request", (request) => {
    const items = SEEN[request.schema.name];
    for (const item of items ? items(request) : []) {
      note({ service: request.schema.name.replace(/Request$/, ""), audit: request.requestHeader.auditEntryId || null, ...item });
    }
  });
  await server.start();
  console.log("ready");
  process.stdin.resume();
  process.stdin.on("end", async () => {
    clearInterval(timer);
    await server.shutdown(0);
    process.exit(0);
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
