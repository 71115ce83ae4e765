// What the Node servers of this folder share: what they say of themselves, and the routes they answer.
const about = (name) => `${name} ${require(`${name}/package.json`).version}`;

// With the argument `about`, a program says only what it is.
exports.about = (...names) => {
  if (process.argv[2] === "about") {
    console.log(names.map(about).join(" with "));
    process.exit();
  }
};

// Answers as the others do, and listens.
exports.serve = (app) => {
  app.set("env", "test"); // prints no stacks
  app.get("/pay", (_, answer) => answer.sendStatus(200));
  app.get("/slow", (_, answer) => setTimeout(() => answer.sendStatus(200), 400));
  app.get("/fail", (_, answer) => answer.sendStatus(500));
  app.get("/healthz", (_, answer) => answer.sendStatus(503));
  app.get("/broken", () => {
    throw new Error("broken, as it was asked to be");
  });
  app.listen(process.env.PORT, "127.0.0.1");
};
