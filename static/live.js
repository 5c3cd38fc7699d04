// htmx has looked at the page before the extension for server-sent events was there: let it look at the live part again.
htmx.process(document.getElementById("live"));
