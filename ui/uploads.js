// Reports to the page which files the browser did not deliver, and which ones a new session of the server has forgotten.
// Streamlit's uploader shows the first to the user alone, and never hears of the second.
const SETTLED_MS = 1000; // a run of the page that starts while Streamlit prepares uploads would lose them

export default ({ data, setStateValue }) => {
  const memory = ((window.uploadMemory ??= {})[data.uploader] ??= { session: data.session, names: [], forgotten: [], reported: "[]" });
  if (memory.session !== data.session) {
    const forgotten = [...memory.names, ...memory.forgotten.filter((name) => !memory.names.includes(name))];
    if (forgotten.length) setStateValue("forgotten", forgotten);
    Object.assign(memory, { session: data.session, names: [], forgotten, reported: "[]" });
  }

  const report = (failed) => {
    if (JSON.stringify(failed) === memory.reported) return;
    memory.reported = JSON.stringify(failed);
    setStateValue("failed", failed);
  };

  const look = () => {
    const uploader = document.querySelector(`.st-key-${data.uploader}-${data.session}`);
    if (!uploader) return;
    const chips = [...uploader.querySelectorAll("[data-testid=stFileChip]")].map((chip) => ({
      name: chip.querySelector("[data-testid=stFileChipName]").title,
      alert: chip.querySelector("[role=alert]"),
    }));
    memory.names = chips.map((chip) => chip.name);
    const failed = chips.filter((chip) => chip.alert).map(({ name, alert }) => {
      alert.dataset.reason ??= alert.textContent;
      if (alert.lastChild.nodeValue !== data.words) alert.lastChild.nodeValue = data.words;
      return { name, reason: alert.dataset.reason };
    });
    clearTimeout(memory.timer);
    if (!uploader.querySelector("[data-testid=stFileChipIconSpinner]")) {
      memory.timer = setTimeout(() => report(failed), SETTLED_MS);
    }
  };
  memory.observer?.disconnect();
  memory.observer = new MutationObserver(look);
  memory.observer.observe(document.body, { childList: true, subtree: true });
  look();
};
