import { connect } from "duologue";
import { useChannel, useLink, useMessages } from "duologue/react";
import { useState } from "react";

const text = (message) => new TextDecoder().decode(message);

export function Conversation() {
  const view = useLink(() => connect({ invite: location.href }));
  const channel = useChannel(view, "echo");
  const messages = useMessages(channel, { decode: text });
  const [written, setWritten] = useState("");
  const [lost, setLost] = useState();

  async function send(event) {
    event.preventDefault();
    setWritten("");
    try {
      await channel.send(written); // fulfils when the server's application has taken it, however many connections that needs
    } catch (error) {
      setLost(`${written}: ${error.delivery}`);
    }
  }

  if (view.error) return <p role="alert">{view.error.message}</p>;
  return (
    <>
      <p role="status">{view.state}</p>
      <ol>
        {messages.map((message, index) => (
          <li key={index}>{message}</li>
        ))}
      </ol>
      <form onSubmit={send}>
        <input aria-label="Message" value={written} onChange={(event) => setWritten(event.target.value)} required />
        <button disabled={!channel}>Send</button>
      </form>
      {lost && <p role="alert">{lost}</p>}
    </>
  );
}
