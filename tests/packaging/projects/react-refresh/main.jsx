import { Fragment, StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Echo } from "./Echo.jsx";

// React runs effects again after a save in the one, and not in the other.
const Mode = location.hash === "#loose" ? Fragment : StrictMode;

createRoot(document.getElementById("root")).render(
  <Mode>
    <Echo />
  </Mode>,
);
