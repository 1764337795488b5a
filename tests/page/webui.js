// What the WebUI's own scripts give to those of its extensions, as far as the trainer's uses it.
window.gradioApp = () => document.querySelector("gradio-app")?.shadowRoot ?? document;
window.onUiLoaded = (call) => {
    if (gradioApp().querySelector("#txt2img_prompt")) call();
    else setTimeout(() => onUiLoaded(call), 50);
};
window.updateInput = (target) => target.dispatchEvent(new Event("input", {bubbles: true}));
window.switch_to_txt2img = () => gradioApp().querySelector("#tabs button").click();
window.selectCheckpoint = (name) => {
    window.selected = name;
};
let opts = {localization: "None", sd_model_checkpoint: "first.safetensors [0123456789]"};
