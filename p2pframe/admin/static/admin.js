// Every page: what ties its parts together. Without any of this the pages show what was when they were made.
import { act } from "/static/actions.js";
import { follow } from "/static/live.js";
import { filter, sortFurther } from "/static/tables.js";

// Not by scrollIntoView: from what that brings into view the Tab key goes on, past the link to the content.
const here = document.querySelector("nav [aria-current]");
if (here) here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.offsetWidth) / 2;
document.addEventListener("input", (event) => { if (event.target.matches("[data-filter]")) filter(); });
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const header = button?.closest("[data-sortable] th");
  if (header) sortFurther(header);
  else if (button?.dataset.do) act(button);
  else if (button && "close" in button.dataset) button.closest("dialog").close("no");
});
follow();
