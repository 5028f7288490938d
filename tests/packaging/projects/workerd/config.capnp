using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["private", "local"], tlsOptions = (trustedCertificates = [embed "cert.pem"]))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "duologue_core_bg.wasm", wasm = embed "duologue_core_bg.wasm"),
  ],
  bindings = [
    (name = "URL", fromEnvironment = "DUOLOGUE_URL"),
    (name = "INVITE", fromEnvironment = "DUOLOGUE_INVITE"),
  ],
  compatibilityDate = "2025-11-01",
);
