// What an operator does with the messages of a peer: looks on, or has them written down.
import { ask } from "/static/api.js";

// `fill` asks for the fields of a dialog; each gives what to say when it is done.
export const recording = (fill) => ({
  async inspect({ peer }) {
    await ask("POST", `/api/v1/peers/${peer}/inspect`);
    location.assign(`/peers/${peer}/messages`);
  },
  async endinspect({ peer }) {
    await ask("POST", `/api/v1/peers/${peer}/inspect/stop`);
    location.assign(`/peers/${peer}/messages`);
  },
  async capture({ peer, name }) {
    const given = await fill("capture", name);
    if (!given) return "";
    const begun = await ask("POST", `/api/v1/peers/${peer ?? given.peer}/capture`, { seconds: Number(given.seconds) });
    return `The capture ${begun.name} has begun.`;
  },
  async endcapture({ peer }) {
    await ask("POST", `/api/v1/peers/${peer}/capture/stop`);
    return "The capture has ended.";
  },
  async deletecapture({ file, name }) {
    if (!await fill("deletecapture", name)) return "";
    await ask("POST", `/api/v1/captures/${file}/delete`);
    return `${name} is deleted.`;
  },
});
