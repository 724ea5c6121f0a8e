// The tensorized linear layer in every format, forward and backward, in plain JavaScript: node layer.js CASES RESULTS
//
// A factorization is a network: a name for each operand, and a label for each of its axes.  y is the sum over all labels
// but those of y of the product of x and all operands, plus the bias; each gradient is the same sum with one array cut
// out, and dy in the place of y.  Labels: "b" the batch, "i0".. and "o0".. the modes, "r0".. the ranks, "j" joint layers.
"use strict";
const fs = require("fs"), path = require("path");

function network(c) {
  const joint = c.n_layers > 1 ? ["j"] : [];
  const modes = [...joint, ...c.in_shape.map((_, k) => "i" + k), ...c.out_shape.map((_, k) => "o" + k)];
  const names = Object.keys(c.arrays).filter((name) => !["x", "dy", "bias"].includes(name));
  const operands = {};
  for (const name of names) {
    const k = Number(name.split(".")[1]);
    if (c.format === "dense") operands[name] = modes;
    else if (name === "weights") operands[name] = ["r"];
    else if (c.format === "cp") operands[name] = [modes[k], "r"];
    else if (name === "core") operands[name] = modes.map((mode) => "r" + mode);
    else if (c.format === "tucker") operands[name] = [modes[k], "r" + modes[k]];
    else if (c.format === "tt") operands[name] = ["r" + k, modes[k], "r" + (k + 1)];
    else if (c.format === "blocktt") {
      const at = k - joint.length; // a core of their own tells joint layers apart
      const pair = at < 0 ? ["j"] : [["i", c.in_shape], ["o", c.out_shape]].map(([s, shape]) => (at < shape.length ? s : "spare " + s) + at);
      operands[name] = ["r" + k, ...pair, "r" + (k + 1)];
    } else throw new Error(`unknown format ${c.format}`);
  }
  return operands;
}

// sum over every label that is not in `out` of the product of the arrays, each {shape, data, labels}: two at a time,
// first those whose product is smallest
function contract(arrays, out, sizes) {
  if (arrays.length <= 2) return sum(arrays, out, sizes);
  const count = (labels) => labels.reduce((p, l) => p * sizes[l], 1);
  let best = { cost: Infinity };
  arrays.forEach((a, i) => arrays.slice(0, i).forEach((b, j) => {
    const others = arrays.filter((other) => other !== a && other !== b);
    const kept = [...new Set([...a.labels, ...b.labels])].filter((l) => out.includes(l) || others.some((c) => c.labels.includes(l)));
    const cost = count(kept) - count(a.labels) - count(b.labels);
    if (cost < best.cost) best = { cost, a, b, others, kept };
  }));
  const met = { ...sum([best.a, best.b], best.kept, sizes), labels: best.kept };
  return contract([...best.others, met], out, sizes);
}

function sum(arrays, out, sizes) {
  const labels = [...out, ...new Set(arrays.flatMap((a) => a.labels).filter((l) => !out.includes(l)))];
  const n = labels.map((l) => sizes[l]), strides = arrays.map((a) => labels.map((l) => stride(a, l)));
  const shape = out.map((l) => sizes[l]), result = new Float64Array(shape.reduce((p, s) => p * s, 1));
  const at = labels.map(() => 0), place = arrays.map(() => 0), own = stridesOf(shape);
  const total = n.reduce((p, s) => p * s, 1);
  for (let step = 0, target = 0; step < total; step++) {
    let product = 1;
    for (let a = 0; a < arrays.length; a++) product *= arrays[a].data[place[a]];
    result[target] += product;
    for (let k = labels.length - 1; k >= 0; k--) { // count up, the last label fastest
      const move = ++at[k] < n[k] ? 1 : 1 - n[k];
      for (let a = 0; a < arrays.length; a++) place[a] += move * strides[a][k];
      if (k < out.length) target += move * own[k];
      if (move === 1 && at[k] < n[k]) break;
      at[k] = 0;
    }
  }
  return { shape, data: result };
}
const stridesOf = (shape) => shape.map((_, k) => shape.slice(k + 1).reduce((p, s) => p * s, 1));
const stride = (a, label) => { const s = stridesOf(a.shape); return a.labels.reduce((t, l, k) => (l === label ? t + s[k] : t), 0); };

function layer(c) {
  if (c.dtype.startsWith("complex")) throw new Error("complex numbers are not ported");
  const batch = c.batch_shape.reduce((p, s) => p * s, 1), joint = c.n_layers > 1 ? ["j"] : [], n = c.n_layers > 1 ? [c.n_layers] : [];
  const i = c.in_shape.map((_, k) => "i" + k), o = c.out_shape.map((_, k) => "o" + k);
  const x = { shape: [batch, ...c.in_shape], data: c.arrays.x.data, labels: ["b", ...i] };
  const dy = { shape: [...n, batch, ...c.out_shape], data: c.arrays.dy.data, labels: [...joint, "b", ...o] };
  const operands = Object.entries(network(c)).map(([name, labels]) => ({ name, labels, ...c.arrays[name] }));
  const sizes = {};
  for (const a of [x, dy, ...operands]) a.labels.forEach((l, k) => (sizes[l] = a.shape[k]));
  const ones = (labels, others) => labels.filter((l) => !others.some((a) => a.labels.includes(l)))
    .map((l) => ({ shape: [sizes[l]], data: Array(sizes[l]).fill(1), labels: [l] }));
  const y = contract([x, ...operands], dy.labels, sizes), out = c.out_shape.reduce((p, s) => p * s, 1);
  const results = { y, dx: contract([dy, ...operands], x.labels, sizes) };
  if (c.arrays.bias) {
    y.data.forEach((_, k) => (y.data[k] += c.arrays.bias.data[Math.floor(k / (batch * out)) * out + (k % out)]));
    results.dbias = contract([dy], [...joint, ...o], sizes);
  }
  for (const operand of operands) {
    const others = [x, dy, ...operands.filter((other) => other !== operand)];
    results["d" + operand.name] = contract([...others, ...ones(operand.labels, others)], operand.labels, sizes);
  }
  const shapes = { y: c.arrays.dy.shape, dx: c.arrays.x.shape, dbias: c.arrays.bias?.shape };
  return Object.fromEntries(Object.entries(results).map(([name, a]) => [name, { shape: shapes[name] ?? a.shape, data: [...a.data] }]));
}

const [given, wanted] = process.argv.slice(2);
const { cases } = JSON.parse(fs.readFileSync(path.join(given, "cases.json")));
const results = Object.fromEntries(cases.map((c) => [c.id, layer(c)]));
fs.writeFileSync(path.join(wanted, "results.json"), JSON.stringify(results));
