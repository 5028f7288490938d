import react from "@vitejs/plugin-react";

const server = process.env.DUOLOGUE_SERVER ?? "https://localhost:8443";

// `secure: false`, since that server has made its certificate itself. What is said is sealed to the server's key all the same,
// which the invite names: a proxy cannot read it.
const proxy = { target: server, secure: false };

export default {
  plugins: [react()],
  server: { proxy: { "/line": { ...proxy, ws: true }, "/.well-known/duologue": proxy } },
};
