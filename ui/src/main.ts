import { mount } from "svelte";
import { App } from "./app.svelte";
import { openBackend } from "./backend/backend";
import "./styles/tokens.css";
import "./styles/base.css";
import { followSystem } from "./theme";
import Root from "./views/Root.svelte";
import { setLanguage } from "./words/language.svelte";

const target = document.getElementById("app");
if (!target) throw new Error("index.html lacks #app");
setLanguage(null);
followSystem();
const app = new App(await openBackend());
app.start();
mount(Root, { target, props: { app } });
