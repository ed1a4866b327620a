// An OPC UA client of another make: requests as JSON on standard input, one a line; each answer a line on standard output.
// {"do": "connect", …} comes first. An answer is {"is": …} or {"fault": status code, "text": …}.
"use strict";

const readline = require("node:readline");
const {
  OPCUAClient, SecurityPolicy, MessageSecurityMode, UserTokenType, AttributeIds, DataType, VariantArrayType, DataValue, StatusCodes,
  ClientSubscription, ClientMonitoredItem, TimestampsToReturn, ReadRawModifiedDetails, HistoryReadRequest, ReadRequest, coerceNodeId,
  coerceInt64, coerceUInt64, makeBrowsePath, BrowseDirection, NodeClass,
} = require("node-opcua");
const { store, leaf, variant, plain, code, dataValue } = require("./words.cjs");

const id = (given) => given.toString().replace(/^ns=0;/, "");

let client = null;
let session = null;
let renewals = 0;

const of = (type, value) => {
  if (type === "Int64") return coerceInt64(value);
  if (type === "UInt64") return coerceUInt64(value);
  if (type === "ByteString") return Buffer.from(value, "hex");
  if (type === "DateTime") return new Date(value);
  return value;
};

const made = ([type, value]) =>
  Array.isArray(value)
    ? { dataType: DataType[type], arrayType: VariantArrayType.Array, value: value.map((one) => of(type, one)) }
    : { dataType: DataType[type], arrayType: VariantArrayType.Scalar, value: of(type, value) };

const DO = {
  async endpoints({ url, ...own }) {
    const { folder, certificate, key, uri } = own;
    const asking = OPCUAClient.create({
      certificateFile: leaf(certificate, folder), privateKeyFile: key, applicationUri: uri, endpointMustExist: false,
      clientCertificateManager: await store(own), connectionStrategy: { maxRetry: 0 },
    });
    await asking.connect(url);
    const told = await asking.getEndpoints();
    await asking.disconnect();
    return told.map((one) => ({
      url: one.endpointUrl, policy: one.securityPolicyUri.replace(/.*#/, ""), mode: MessageSecurityMode[one.securityMode],
      server: one.server.applicationUri, tokens: one.userIdentityTokens.map((token) => UserTokenType[token.tokenType]),
    }));
  },

  async connect({ url, policy, user, password, lifetime_ms, renew_ms, ...own }) {
    const { folder, certificate, key, uri } = own;
    client = OPCUAClient.create({
      applicationUri: uri, certificateFile: leaf(certificate, folder), privateKeyFile: key,
      clientCertificateManager: await store(own), endpointMustExist: false,
      securityPolicy: SecurityPolicy[policy], securityMode: MessageSecurityMode.SignAndEncrypt,
      connectionStrategy: { maxRetry: 0, initialDelay: 100 }, keepSessionAlive: false, requestedSessionTimeout: 60000,
      defaultSecureTokenLifetime: lifetime_ms || 3600000, tokenRenewalInterval: renew_ms,
    });
    client.on("security_token_renewed", () => renewals++);
    await client.connect(url);
    session = await client.createSession(
      user ? { type: UserTokenType.UserName, userName: user, password } : { type: UserTokenType.Anonymous },
    );
    return "connected";
  },

  async browse({ node }) {
    const told = await session.browse({
      nodeId: node, browseDirection: BrowseDirection.Forward, referenceTypeId: "HierarchicalReferences", includeSubtypes: true,
      resultMask: 63,
    });
    const references = (told.references || []).map((one) => [one.browseName.name, id(one.nodeId), NodeClass[one.nodeClass]]);
    return { status: code(told.statusCode), references: references.sort() };
  },

  async translate({ start, path }) {
    const told = await session.translateBrowsePath(makeBrowsePath(start, path.map(([index, name]) => `/${index}:${name}`).join("")));
    return { status: code(told.statusCode), targets: (told.targets || []).map((one) => id(one.targetId)) };
  },

  async read({ nodes, attribute, range }) {
    const asked = nodes.map((nodeId) => ({ nodeId, attributeId: attribute || AttributeIds.Value, indexRange: range }));
    const told = await session.read(asked, 0);
    return told.map(dataValue);
  },

  async register({ nodes }) {
    const ids = await session.registerNodes(nodes);
    const told = await session.read(ids.map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })));
    await session.unregisterNodes(ids);
    return told.map(dataValue);
  },

  async write({ items }) {
    const told = await session.write(
      items.map(({ node, value, source, attribute, range }) => ({
        nodeId: node, attributeId: attribute || AttributeIds.Value, indexRange: range,
        value: new DataValue({ value: made(value), ...(source ? { sourceTimestamp: new Date(source) } : {}) }),
      })),
    );
    return told.map(code);
  },

  async call({ object, method, arguments: given }) {
    const told = await session.call({ objectId: object, methodId: method, inputArguments: given.map(made) });
    return {
      status: code(told.statusCode), inputs: (told.inputArgumentResults || []).map(code),
      outputs: (told.outputArguments || []).map(variant),
    };
  },

  async subscribe({ nodes, count, publishing_ms, sampling_ms }) {
    const subscription = await session.createSubscription2({
      requestedPublishingInterval: publishing_ms, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 10,
      maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
    });
    const got = nodes.map(() => []);
    const statuses = [];
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`only ${JSON.stringify(got.map((one) => one.length))} came`)), 20000);
      const look = () => {
        if (statuses.length === nodes.length && got.every((one, at) => one.length >= count || statuses[at] !== 0)) {
          clearTimeout(late);
          resolve();
        }
      };
      (async () => {
        for (const [at, nodeId] of nodes.entries()) {
          const item = await subscription.monitor(
            { nodeId, attributeId: AttributeIds.Value },
            { samplingInterval: sampling_ms, queueSize: 100, discardOldest: true }, TimestampsToReturn.Both,
          ).catch((error) => error);
          statuses.push(code(item.statusCode ?? item.monitoredItem?.statusCode ?? StatusCodes.BadUnexpectedError));
          item.on?.("changed", (value) => {
            got[at].push(dataValue(value));
            look();
          });
        }
        look();
      })().catch(reject);
    });
    await subscription.terminate();
    return { statuses, got: got.map((one) => one.slice(0, count)) };
  },

  async history({ node, start, end, count }) {
    const told = await session.performMessageTransaction(
      new HistoryReadRequest({
        historyReadDetails: new ReadRawModifiedDetails({
          isReadModified: false, startTime: new Date(start), endTime: new Date(end), numValuesPerNode: count, returnBounds: false,
        }),
        timestampsToReturn: TimestampsToReturn.Both, releaseContinuationPoints: false, nodesToRead: [{ nodeId: coerceNodeId(node) }],
      }),
    );
    const result = told.results[0];
    return { status: code(result.statusCode), values: (result.historyData?.dataValues || []).map(dataValue) };
  },

  // A read that carries a client's own entry of its audit log.
  async audited({ node, entry }) {
    const request = new ReadRequest({
      requestHeader: { auditEntryId: entry }, timestampsToReturn: TimestampsToReturn.Both,
      nodesToRead: [{ nodeId: node, attributeId: AttributeIds.Value }],
    });
    return dataValue((await session.performMessageTransaction(request)).results[0]);
  },

  // Reads without a pause until the channel was renewed that often.
  async renewed({ node, times, within_s }) {
    const end = Date.now() + within_s * 1000;
    let reads = 0;
    let bad = 0;
    while (renewals < times) {
      if (Date.now() > end) throw new Error(`${renewals} renewals in ${within_s} s`);
      const told = await session.read({ nodeId: node, attributeId: AttributeIds.Value });
      reads++;
      if (told.statusCode.value !== 0) bad++;
      if (reads % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { renewals, reads, bad };
  },

  async close() {
    const [open, connected] = [session, client];
    session = client = null;
    renewals = 0;
    await open?.close(true);
    await connected?.disconnect();
    return "closed";
  },
};

async function answer(line) {
  try {
    const { do: what, ...rest } = JSON.parse(line);
    return { is: await DO[what](rest) };
  } catch (error) {
    const status = error.response?.responseHeader?.serviceResult?.value;
    return { fault: status ?? null, text: error.message };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(line)));
  }
  process.exit(0);
})();
