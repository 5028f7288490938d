import { connect } from "duologue";

export async function disposed(): Promise<void> {
  await using link = connect({ url: "wss://example.org/line" });
  await link.ready;
}
