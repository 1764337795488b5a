export default {
    "login.key": "API 密钥",
    "login.hint": "此服务器可被他人访问，因此需要密钥：在服务器上运行 `python -m lora_scripts_ext keys add 名称` 即可创建。",
    "login.enter": "登录",
};
