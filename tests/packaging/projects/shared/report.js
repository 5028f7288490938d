// Opens lines as the address of this page says, and reports what was echoed.

const parameters = new URLSearchParams(location.search);

export async function report(connect, workers = [], besides = () => ({})) {
  const tell = (result) => fetch(parameters.get("report"), { method: "POST", body: JSON.stringify(result) });
  try {
    const said = [];
    for (const [text, worker] of [["on the page's thread", false], ...workers]) {
      const link = connect({ url: parameters.get("url"), invite: said.length === 0 ? parameters.get("invite") : undefined, worker });
      const answer = await link.request("echo", text, { timeout: 20_000 });
      said.push(new TextDecoder().decode(answer));
      link.close();
      await link.closed;
    }
    await tell({ said, ...besides() });
  } catch (error) {
    await tell({ error: `${error?.code ?? error?.name}: ${error?.message ?? error}\n${error?.stack}` });
  }
}
