/** Of the app, which the page is built into: one number for all that is built from one source. */

export { version as VERSION } from "../package.json";
