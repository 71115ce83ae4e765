// Express, by a counter and a histogram of prom-client's own, as its guide names them.
const shop = require("./shop");
shop.about("prom-client", "express");

const client = require("prom-client");
const app = require("express")();

const labelNames = ["method", "route", "code"];
const requests = new client.Counter({ name: "http_requests_total", help: "Requests.", labelNames });
const seconds = new client.Histogram({ name: "http_request_duration_seconds", help: "Seconds.", labelNames });

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
shop.serve(app);
