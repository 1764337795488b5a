export default {
    "login.key": "API key",
    "login.hint": "This server can be reached by others, so it asks for a key: `python -m lora_scripts_ext keys add NAME` on the server makes one.",
    "login.enter": "Log in",
};
