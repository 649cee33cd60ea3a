// Runs before Streamlit's script, in every browser that opens the page.
// It tells the user of a lost connection in this page's words, and asks before a reload that would lose results.
(() => {
  const PATIENCE_MS = 5000, INTERVAL_MS = 1000, TIMEOUT_MS = 15000;
  const ADVICE = "If this message stays, open the page in a new tab, where it may ask you to log in, or tell its administrator";
  const NEVER = "This page cannot connect to its server. It keeps trying. " + ADVICE
    + ": a proxy in front of the page must keep Host and pass WebSockets.";
  const LOST = "The connection to the server is lost. This page keeps trying to restore it. Until then nothing is analysed, and "
    + `what you see is the last state. Your slices are kept for up to ${SESSION_MINUTES} minutes. ` + ADVICE + ".";

  // Streamlit reports a failed request for its health in a dialog for developers. Here the request is repeated until it succeeds.
  const fetchOnce = window.fetch.bind(window);
  window.fetch = async (resource, options) => {
    if (!/\/_stcore\/(health|host-config)$/.test(resource)) return fetchOnce(resource, options);
    for (;;) {
      try {
        const response = await fetchOnce(resource, { signal: AbortSignal.timeout(TIMEOUT_MS) });
        if (response.ok) return response;
      } catch { /* the message below says so */ }
      await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    }
  };

  let everConnected = false, lostSince = null, message = null;
  const show = (text) => {
    if (!message) {
      message = document.createElement("p");
      message.id = "connection";
      message.setAttribute("role", "alert");
      document.body.append(message);
    }
    if (message.textContent !== text) message.textContent = text;
    message.hidden = text === "";
  };
  setInterval(() => {
    const state = document.querySelector("[data-test-connection-state]")?.dataset.testConnectionState;
    if (state === "CONNECTED") {
      everConnected = true;
      lostSince = null;
      if (message) show("");
    } else {
      lostSince ??= Date.now();
      if (Date.now() - lostSince >= PATIENCE_MS) show(everConnected ? LOST : NEVER);
    }
  }, INTERVAL_MS);

  window.addEventListener("beforeunload", (event) => {
    if (document.querySelector(".slices, [data-testid=stFileChip]")) event.preventDefault();
  });
})();
