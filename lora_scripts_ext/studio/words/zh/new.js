export default {
    "kind.brand_style.hint": "同一种风格的不同物品：配色、光线、背景。",
    "kind.product.hint": "同一件商品，多个角度、多种背景。",
    "kind.character.hint": "同一个形象，多种姿势和场景。",
    "kind.car.hint": "同一款车，外观与内饰的各个角度。",

    "new.what": "要训练什么？",
    "new.name": "名称",
    "new.nameHint": "LoRA 的名称，用作文件名和提示词中的名字。",
    "new.trigger": "触发词",
    "new.triggerHint": "在提示词中激活该风格的自定义词。",
    "new.folder": "服务器上的文件夹（可选）",
    "new.folderHint": "图片已在服务器上时填写；留空则从这里上传。",
    "new.used": "“{word}”已是另一个模型的触发词，请换一个。",

    "folders.browse": "浏览…",
    "folders.title": "服务器上的文件夹",
    "folders.roots": "可读取的文件夹",
    "folders.up": "上一级",
    "folders.empty": "其中没有文件夹。",
    "folders.more": "还有更多，请直接填写路径。",
    "folders.choose": "使用此文件夹（{count} 张图片）",

    "model.save": "保存",
    "model.remove": "删除此模型…",
    "model.removeWhat": "{name} 将从列表中消失。WebUI 文件夹中的 LoRA 会保留。",
    "model.removeKeep": "保留文件",
    "model.removeTrash": "将文件移入回收站",

    "new.create": "创建模型",
};
