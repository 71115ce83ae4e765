// Express, by express-prom-bundle as its guide has it.
const shop = require("./shop");
shop.about("express-prom-bundle", "prom-client", "express");

const bundle = require("express-prom-bundle");
const app = require("express")();

app.use(bundle({ includeMethod: true, includePath: true }));
shop.serve(app);
