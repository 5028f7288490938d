// Uses an example as a person does: writes lines into its form, one after the other, and reports what the page then shows.

const parameters = new URLSearchParams(location.search);
const one = (selector) => document.querySelector(selector);
const items = () => [...document.querySelectorAll("li")].map((item) => item.textContent);

async function until(holds) {
  for (let again = 600; !holds(); again--) {
    if (again === 0) throw new Error(`the page shows: ${document.body.innerText}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function use() {
  const lines = JSON.parse(parameters.get("lines"));
  await until(() => one("[role=status]")?.textContent === "open");
  for (const [index, line] of lines.entries()) {
    await until(() => !one("form button").disabled);
    // As the browser does when somebody types, past what frameworks put over it.
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(one("form input"), line);
    one("form input").dispatchEvent(new Event("input", { bubbles: true }));
    one("form").requestSubmit();
    await until(() => items().length === index + 1);
  }
  return { state: one("[role=status]").textContent, items: items() };
}

const said = await use().catch((error) => ({ error: String(error) }));
await fetch(parameters.get("report"), { method: "POST", body: JSON.stringify(said) });
