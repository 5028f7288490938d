import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { language, say } from "../words.js";
import { App } from "./App.jsx";

document.documentElement.lang = language;
document.title = `Duologue: ${say("title")}`;

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
