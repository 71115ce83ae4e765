// Express, by a counter and a histogram of prom-client's own, as its guide names them.
const about = (name) => `${name} ${require(`${name}/package.json`).version}`;
if (process.argv[2] === "about") {
  console.log(["prom-client", "express"].map(about).join(" with "));
  process.exit();
}

const express = require("express");
const client = require("prom-client");

const labelNames = ["method", "route", "code"];
const requests = new client.Counter({ name: "http_requests_total", help: "Requests.", labelNames });
const seconds = new client.Histogram({ name: "http_request_duration_seconds", help: "Seconds.", labelNames });

const app = express();
app.set("env", "test"); // prints no stacks
app.get("/metrics", async (_, answer) => answer.type(client.register.contentType).send(await client.register.metrics()));
app.use((request, answer, next) => {
  const end = seconds.startTimer();
  answer.on("finish", () => {
    const labels = { method: request.method, route: request.route?.path ?? "none", code: answer.statusCode };
    requests.inc(labels);
    end(labels);
  });
  next();
});
app.get("/pay", (_, answer) => answer.sendStatus(200));
app.get("/slow", (_, answer) => setTimeout(() => answer.sendStatus(200), 400));
app.get("/fail", (_, answer) => answer.sendStatus(500));
app.get("/healthz", (_, answer) => answer.sendStatus(503));
app.get("/broken", () => {
  throw new Error("broken, as it was asked to be");
});
app.listen(process.env.PORT, "127.0.0.1");
