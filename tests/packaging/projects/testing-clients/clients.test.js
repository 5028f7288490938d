// Clients of HTTP over the line, as docs/RECIPES.md has them.

import { initTRPC } from "@trpc/server";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { connect } from "duologue";
import { createServer, http } from "duologue/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import { withAxios, withKy, withTrpc } from "./clients.js";

const origin = "https://duologue.test";
const { router, procedure } = initTRPC.create();
const app = router({ sum: procedure.input((numbers) => numbers).query(({ input }) => input.reduce((sum, number) => sum + number, 0)) });
let server;
let link;

beforeAll(async () => {
  const backend = async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/trpc")) return fetchRequestHandler({ endpoint: "/trpc", req: request, router: app });
    return Response.json({ method: request.method, pathname, body: await request.text() }, { status: pathname === "/none" ? 404 : 200 });
  };
  server = await createServer({ services: { http: http(backend) } });
  link = connect(server.options());
});
afterAll(() => {
  link.close();
  server.close();
});

test("ky", async () => {
  const api = withKy(link, origin);
  expect(await api.get("items").json()).toMatchObject({ method: "GET", pathname: "/items" });
  expect(await api.post("items", { json: { a: 1 } }).json()).toMatchObject({ method: "POST", body: '{"a":1}' });
  await expect(api.get("none", { retry: 0 }).json()).rejects.toMatchObject({ response: { status: 404 } });
});

test("axios", async () => {
  const api = withAxios(link, origin);
  expect((await api.get("/items")).data).toMatchObject({ method: "GET", pathname: "/items" });
  expect((await api.put("/items", { a: 1 })).data).toMatchObject({ method: "PUT", body: '{"a":1}' });
  await expect(api.get("/none")).rejects.toMatchObject({ response: { status: 404 } });
});

test("tRPC", async () => {
  expect(await withTrpc(link, `${origin}/trpc`).sum.query([1, 2, 3])).toBe(6);
});
