// Express, by express-prom-bundle as its guide has it.
const about = (name) => `${name} ${require(`${name}/package.json`).version}`;
if (process.argv[2] === "about") {
  console.log(["express-prom-bundle", "prom-client", "express"].map(about).join(" with "));
  process.exit();
}

const express = require("express");
const bundle = require("express-prom-bundle");

const app = express();
app.set("env", "test"); // prints no stacks
app.use(bundle({ includeMethod: true, includePath: true }));
app.get("/pay", (_, answer) => answer.sendStatus(200));
app.get("/slow", (_, answer) => setTimeout(() => answer.sendStatus(200), 400));
app.get("/fail", (_, answer) => answer.sendStatus(500));
app.get("/healthz", (_, answer) => answer.sendStatus(503));
app.get("/broken", () => {
  throw new Error("broken, as it was asked to be");
});
app.listen(process.env.PORT, "127.0.0.1");
