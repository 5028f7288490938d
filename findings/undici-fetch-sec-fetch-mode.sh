#!/usr/bin/env bash
# undici 7.16.0 (and the fetch of Node 20, which is made of it): fetch sends `Sec-Fetch-Mode`, and no other Fetch Metadata header.
#
# A browser sends Sec-Fetch-Site, -Mode and -Dest together, and an HTTP client that is none sends nothing of the kind: so a server that
# is not for browsers may refuse whatever has any `Sec-Fetch-` header. Then it refuses every Node program that asks by fetch, also
# with mode "no-cors" and also by POST, while undici's own request() passes. What tells a browser is Sec-Fetch-Site, or Origin.
#
# Seen: fetch=sec-fetch-mode no-cors=sec-fetch-mode post=sec-fetch-mode request=none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes > /dev/null
npm install --silent undici@7.16.0
cat > ask.mjs <<'JS'
import http from "node:http";
import { fetch, request } from "undici";

const told = (headers) =>
  Object.keys(headers).filter((name) => name === "origin" || name.startsWith("sec-fetch-")).join(",") || "none";

/** What a server sees of who asks it like this. */
const seen = (ask) =>
  new Promise((settle) => {
    const server = http.createServer((asked, answer) => {
      answer.end();
      server.close();
      settle(told(asked.headers));
    });
    server.listen(0, "127.0.0.1", () => ask(`http://127.0.0.1:${server.address().port}/`));
  });

const words = [
  `fetch=${await seen((url) => fetch(url))}`,
  `no-cors=${await seen((url) => fetch(url, { mode: "no-cors" }))}`,
  `post=${await seen((url) => fetch(url, { method: "POST", body: "x" }))}`,
  `request=${await seen((url) => request(url))}`,
];
console.log(words.join(" "));
JS
expected="fetch=sec-fetch-mode no-cors=sec-fetch-mode post=sec-fetch-mode request=none"
seen=$(node ask.mjs)
echo "undici 7.16.0: $seen"
test "$seen" = "$expected"
