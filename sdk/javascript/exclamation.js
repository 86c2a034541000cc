// Adds an exclamation mark to every message, and counts them in the function's state.
import { next, done, fail } from "geminga:function/messages@0.1.0";
import { increment } from "geminga:function/state@0.1.0";

export function run() {
  for (let message = next(); message !== undefined && message !== null; message = next()) {
    try {
      increment("seen", 1);
      const output = new Uint8Array(message.payload.length + 1);
      output.set(message.payload);
      output[message.payload.length] = "!".charCodeAt(0);
      done(output);
    } catch (error) {
      fail(`${error}\n${error.stack}`);
    }
  }
}
