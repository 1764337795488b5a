// Every sentence of the page, in English and Chinese.

import {signal} from "@preact/signals";

/** @typedef {"en" | "zh"} Language */

/**
 * A sentence's key -> English, Chinese; {name} stands for a value. What is before a "|" is for one, where `count` is given.
 * @type {Record<string, [string, string]>}
 */
const WORDS = {
    "nav.models": ["Models", "模型"],
    "nav.queue": ["Queue", "队列"],
    "nav.settings": ["Settings", "设置"],
    "nav.main": ["Main", "主导航"],
    "language.other": ["中文", "English"],
    "offline": [
        "The server does not answer. What runs there goes on; this page tries again by itself.",
        "服务器没有响应。正在运行的任务会继续，页面会自动重试。",
    ],
    "offline.action": [
        "The server does not answer; try again in a moment.", "服务器没有响应，请稍后再试。",
    ],
    "skip": ["Skip to the content", "跳到内容"],
    "loading": ["Loading…", "加载中…"],
    "cancel": ["Cancel", "取消"],
    "close": ["Close", "关闭"],
    "retry": ["Try again", "重试"],
    "more": ["Show more", "显示更多"],
    "next": ["Next", "下一张"],
    "previous": ["Previous", "上一张"],
    "copy": ["Copy", "复制"],
    "copied": ["Copied", "已复制"],
    "download": ["Download", "下载"],

    "login.key": ["API key", "API 密钥"],
    "login.hint": [
        "This server can be reached by others, so it asks for a key: `python -m lora_scripts_ext keys add NAME` on the server makes one.",
        "此服务器可被他人访问，因此需要密钥：在服务器上运行 `python -m lora_scripts_ext keys add 名称` 即可创建。",
    ],
    "login.enter": ["Log in", "登录"],

    "welcome.images": ["Bring 50 to 200 images of your products; bad ones are found for you.", "准备 50 至 200 张商品图，不合格的会自动找出。"],
    "welcome.captions": ["Each image gets a line that says what it shows, by itself or by you.", "为每张图片写一行描述，可自动生成，也可手动填写。"],
    "welcome.train": ["Press Start; the LoRA is ready to use in prompts when it is done.", "点击开始训练；完成后即可在提示词中使用 LoRA。"],

    "models.title": ["Models", "模型"],
    "models.subtitle": [
        "Every look, product, car and character you have trained.", "你训练过的每一种品牌风格、商品、汽车和角色。",
    ],
    "models.search": ["Search name or trigger word", "搜索名称或触发词"],
    "models.kinds": ["All kinds", "全部类型"],
    "models.states": ["All states", "全部状态"],
    "models.new": ["New model", "新建模型"],
    "models.newHint": ["a brand's look, a product, a car, a character", "品牌风格、商品、汽车或角色"],
    "models.none": ["No model matches.", "没有符合条件的模型。"],
    "models.images": ["{count} image|{count} images", "{count} 张图片"],
    "models.versions": ["version {count}", "第 {count} 版"],

    "kind.brand_style": ["A brand's look", "品牌风格"],
    "kind.product": ["One product", "单个商品"],
    "kind.character": ["A character", "角色 / IP"],
    "kind.car": ["A car", "汽车"],
    "kind.brand_style.hint": [
        "Images of different things in one style: colours, light, backdrop.", "同一种风格的不同物品：配色、光线、背景。",
    ],
    "kind.product.hint": ["One thing from many sides, on many backgrounds.", "同一件商品，多个角度、多种背景。"],
    "kind.character.hint": ["One figure in many poses and places.", "同一个形象，多种姿势和场景。"],
    "kind.car.hint": ["One car from all sides, inside and outside.", "同一款车，外观与内饰的各个角度。"],

    "new.what": ["What is it?", "要训练什么？"],
    "new.name": ["Name", "名称"],
    "new.nameHint": ["What the LoRA is called, as a file and in a prompt.", "LoRA 的名称，用作文件名和提示词中的名字。"],
    "new.trigger": ["Trigger word", "触发词"],
    "new.triggerHint": [
        "A word of your own that activates the look in a prompt.", "在提示词中激活该风格的自定义词。",
    ],
    "new.folder": ["Folder on the server (optional)", "服务器上的文件夹（可选）"],
    "new.folderHint": [
        "Where your images already lie. Leave it empty to send them from here.", "图片已在服务器上时填写；留空则从这里上传。",
    ],
    "new.used": ["“{word}” is the trigger word of another model already; choose another.", "“{word}”已是另一个模型的触发词，请换一个。"],
    "folders.browse": ["Browse…", "浏览…"],
    "folders.title": ["A folder on the server", "服务器上的文件夹"],
    "folders.roots": ["Folders that may be read", "可读取的文件夹"],
    "folders.up": ["Up", "上一级"],
    "folders.empty": ["There is no folder in it.", "其中没有文件夹。"],
    "folders.more": ["There are more; write the path into the field.", "还有更多，请直接填写路径。"],
    "folders.choose": ["Take this folder ({count} image)|Take this folder ({count} images)", "使用此文件夹（{count} 张图片）"],
    "model.edit": ["Edit…", "编辑…"],
    "model.save": ["Save", "保存"],
    "model.remove": ["Delete this model…", "删除此模型…"],
    "model.removeWhat": [
        "{name} disappears from the list. LoRAs in the WebUI's folder stay there.", "{name} 将从列表中消失。WebUI 文件夹中的 LoRA 会保留。",
    ],
    "model.removeKeep": ["Keep its files", "保留文件"],
    "model.removeTrash": ["Move its files into the trash", "将文件移入回收站"],
    "new.create": ["Create model", "创建模型"],

    "state.draft": ["draft", "草稿"],
    "state.queued": ["queued", "排队中"],
    "state.starting": ["starting", "启动中"],
    "state.running": ["running", "运行中"],
    "state.training": ["training", "训练中"],
    "state.stopping": ["stopping", "停止中"],
    "state.done": ["done", "已完成"],
    "state.failed": ["failed", "失败"],
    "state.stopped": ["stopped", "已停止"],
    "state.cancelled": ["cancelled", "已取消"],

    "tab.images": ["Images", "图片"],
    "tab.captions": ["Captions", "描述"],
    "tab.train": ["Train", "训练"],
    "tab.done": ["done", "已完成"],

    "images.quality": ["Quality", "质量"],
    "images.drop": ["Drop images, folders or a zip here", "将图片、文件夹或 zip 拖放到这里"],
    "images.choose": ["Choose files", "选择文件"],
    "images.chooseFolder": ["Choose a folder", "选择文件夹"],
    "images.sending": ["Sending {done} of {total}", "正在上传 {done} / {total}"],
    "images.notTaken": ["{count} not taken", "{count} 个未能导入"],
    "images.folder": ["The images lie on the server, in", "图片位于服务器上的"],
    "images.open": ["Open", "打开"],
    "images.dropHint": [
        "50 to 200 sharp, varied images are a good start. Your files are never changed.",
        "50 至 200 张清晰、多样的图片是良好的开始。原文件不会被修改。",
    ],
    "images.waiting": ["{count} more waits|{count} more wait", "还有 {count} 个等待上传"],
    "images.show": ["Show", "显示"],
    "images.show.all": ["all", "全部"],
    "images.show.included": ["included", "参与训练"],
    "images.show.excluded": ["excluded", "已排除"],
    "images.show.good": ["good", "合格"],
    "images.show.doubtful": ["doubtful", "存疑"],
    "images.show.bad": ["bad", "不合格"],
    "images.show.unchecked": ["not checked", "未检查"],
    "images.check": ["Check the images", "检查图片"],
    "images.checking": ["Checking the images", "正在检查图片"],
    "images.exclude": ["Exclude the bad one|Exclude {count} bad ones", "排除 {count} 张不合格图片"],
    "images.leave": ["Exclude", "排除"],
    "images.include": ["Include again", "重新加入"],
    "images.skipped": ["Cannot be used", "无法使用"],
    "images.advice": ["What this set needs", "对这组图片的建议"],
    "images.next": ["Next: captions", "下一步：描述"],
    "viewer.left": ["Rotate left", "向左旋转"],
    "viewer.right": ["Rotate right", "向右旋转"],
    "viewer.crop": ["Crop…", "裁剪…"],
    "viewer.undo": ["Undo rotation and crop", "撤销旋转和裁剪"],
    "viewer.size": ["size", "尺寸"],
    "viewer.trained": ["trained at", "训练尺寸"],
    "viewer.shade": ["What is darkened is cut off in training. Your file is never changed.", "变暗的部分训练时会被裁掉。原文件不会被修改。"],
    "viewer.keys": ["Keys: ← → for the next image, x to exclude.", "快捷键：← → 切换图片，x 排除。"],
    "crop.hint": ["Drag over the part to keep.", "拖动选择要保留的部分。"],
    "crop.left": ["left", "左"],
    "crop.top": ["top", "上"],
    "crop.right": ["right", "右"],
    "crop.bottom": ["bottom", "下"],
    "crop.save": ["Crop", "裁剪"],
    "counts.included": ["trained on", "参与训练"],
    "counts.excluded": ["excluded", "已排除"],
    "counts.good": ["good", "合格"],
    "counts.doubtful": ["doubtful", "存疑"],
    "counts.bad": ["bad", "不合格"],
    "counts.unchecked": ["not checked yet", "尚未检查"],
    "counts.without_caption": ["without a caption", "缺少描述"],

    "captions.search": ["Search captions; tag:red finds a whole tag, none finds missing ones", "搜索描述；tag:red 匹配整个标签，none 显示缺少描述的图片"],
    "captions.keys": [
        "Ctrl+Enter or Alt+↓ goes to the next caption, Alt+↑ to the one before; each is saved when you leave it.",
        "Ctrl+Enter 或 Alt+↓ 到下一条，Alt+↑ 到上一条；离开时自动保存。",
    ],
    "captions.show.included": ["trained on", "参与训练"],
    "captions.show.without_caption": ["without a caption", "缺少描述"],
    "captions.show.all": ["all", "全部"],
    "captions.show.excluded": ["excluded", "已排除"],
    "captions.none": ["No image matches.", "没有符合条件的图片。"],
    "captions.noImages": ["There are no images yet.", "还没有图片。"],
    "captions.of": ["Caption of {name}", "{name} 的描述"],
    "captions.by": ["written by {by}", "由 {by} 生成"],
    "captions.removeTag": ["Remove this tag", "移除此标签"],
    "captions.fields": ["What it is made of", "描述的组成"],
    "captions.field.subject": ["Subject", "主体"],
    "captions.field.attributes": ["Attributes", "属性"],
    "captions.field.scene": ["Scene", "场景"],
    "captions.field.style": ["Style", "风格"],
    "captions.captioner": ["Captioner", "描述生成器"],
    "captions.auto": ["BLIP where its model is on the server, else the file names.", "服务器上有 BLIP 模型时使用它，否则使用文件名。"],
    "captions.needs": ["It needs {what}.", "需要：{what}。"],
    "captions.overwrite": ["Captions that are there", "已有的描述"],
    "captions.overwrite.none": ["keep them all", "全部保留"],
    "captions.overwrite.ours": ["replace those of a captioner", "替换自动生成的"],
    "captions.overwrite.all": ["replace all", "全部替换"],
    "captions.begin": ["Caption the images", "生成描述"],
    "captions.captioning": ["Captioning", "正在生成描述"],
    "captions.replace": ["Change many", "批量修改"],
    "captions.onlyFound": ["Only the captions found by the search.", "仅修改搜索到的描述。"],
    "captions.find": ["Find", "查找"],
    "captions.with": ["Replace with", "替换为"],
    "captions.tag": ["Tag", "标签"],
    "captions.add": ["Add to all", "全部添加"],
    "captions.remove": ["Remove from all", "全部移除"],
    "captions.preview": ["Preview", "预览"],
    "captions.apply": ["Change {count}", "修改 {count} 条"],
    "captions.undo": ["Undo: {what}", "撤销：{what}"],
    "captions.words": ["Words in use", "已使用的标签"],
    "captions.next": ["Next: train", "下一步：训练"],

    "captioner.auto": ["Automatic", "自动"],
    "captioner.names": ["File and folder names", "文件名和文件夹名"],
    "captioner.blip": ["BLIP: a sentence", "BLIP：一句话"],
    "captioner.florence": ["Florence-2: a detailed sentence", "Florence-2：详细描述"],
    "captioner.vit": ["ViT: what kind of thing it is", "ViT：物品类别"],
    "captioner.clip": ["CLIP: the best of your own words", "CLIP：从自定义词表中选择"],
    "captioner.wd14": ["WD14: tags", "WD14：标签"],
    "captioner.interrogate": ["The WebUI's CLIP interrogator", "WebUI 的 CLIP 反推"],
    "captioner.deepbooru": ["The WebUI's DeepBooru: tags", "WebUI 的 DeepBooru：标签"],
    "captioner.endpoint": ["A service (OpenAI-compatible)", "外部服务（兼容 OpenAI）"],
    "captioner.model.label": ["Model (folder on the server, or name)", "模型（服务器上的文件夹或名称）"],
    "captioner.words.label": ["File of words on the server", "服务器上的词表文件"],
    "captioner.endpoint.label": ["Endpoint URL", "接口地址"],
    "captioner.key_from.label": ["Environment variable with the key", "保存密钥的环境变量"],

    "train.training": ["Training", "训练"],
    "train.progress": ["Progress", "进度"],
    "train.of": ["{done} of {total}", "{done} / {total}"],
    "train.stepLabel": ["step", "步"],
    "train.epochLabel": ["epoch", "轮"],
    "train.left": ["time left", "剩余时间"],
    "train.speed": ["speed", "速度"],
    "train.memoryLabel": ["memory", "内存"],
    "train.rate": ["{rate} steps/s", "{rate} 步/秒"],
    "train.memory": ["{size} GB", "{size} GB"],
    "train.loss": ["Loss, and its trend: it should fall, then level off.", "损失及其趋势：应先下降，然后趋于平稳。"],
    "train.previews": ["Previews", "预览图"],
    "train.before": ["before training", "训练前"],
    "train.after": ["after epoch {epoch}", "第 {epoch} 轮后"],
    "train.resumes": [
        "Nothing is lost: Resume continues at step {step} of {steps}, with the settings it was started with.",
        "进度没有丢失：继续训练将以原来的设置从第 {step} / {steps} 步开始。",
    ],
    "train.corrected": ["Retry with the settings below", "用下方的设置重试"],
    "train.skipped": ["{count} image was skipped|{count} images were skipped", "跳过了 {count} 张图片"],
    "train.estimate": ["Estimate", "预估"],
    "train.estimating": ["Estimating…", "正在预估…"],
    "train.images": ["images", "图片"],
    "train.steps": ["steps", "步数"],
    "train.time": ["time, without previews", "时间（不含预览）"],
    "train.about": ["about {time}", "约 {time}"],
    "train.needed": ["memory needed", "所需内存"],
    "train.free": ["free now", "当前可用"],
    "train.file": ["LoRA file", "LoRA 文件"],
    "train.tooLarge": ["It does not fit into the memory that is free now.", "当前可用内存不足。"],
    "train.noImages": ["There are no images to train on yet; add some first.", "还没有可训练的图片，请先添加。"],
    "train.uncaptioned": ["{count} image has no caption; it is trained on with the trigger word alone.|{count} images have no caption; they are trained on with the trigger word alone.", "{count} 张图片没有描述，将只用触发词训练。"],
    "train.start": ["Start now", "立即开始"],
    "train.queue": ["Queue for later…", "稍后开始…"],
    "train.another": ["Queue another training…", "再排队一次训练…"],
    "train.inTheWay": ["There is a LoRA of this name already", "已有同名的 LoRA"],
    "train.inTheWayWhat": [
        "It is not this model's. When the training is done it is renamed, so that nothing is lost; or edit the model and give it another name.",
        "它不属于此模型。训练完成时会将其重命名保留；也可以编辑模型并换一个名称。",
    ],
    "train.inTheWayGo": ["Train, and rename the other one", "继续训练，并重命名旧文件"],
    "train.versions": ["Versions", "版本"],
    "train.ofSteps": ["{steps} steps", "{steps} 步"],

    "later.title": ["When is it to begin?", "什么时候开始？"],
    "later.end": ["After everything that waits", "排在所有任务之后"],
    "later.night": ["Only at a time of day, such as at night", "仅在每天的某个时段，例如夜间"],
    "later.at": ["At a date and time, at the earliest", "不早于某个日期和时间"],
    "later.window": ["From – to", "时段"],
    "later.time": ["Date and time", "日期和时间"],
    "later.queue": ["Queue", "加入队列"],
    "later.save": ["Save", "保存"],

    "result.done": ["The LoRA is ready:", "LoRA 已完成："],
    "result.stopped": ["What was trained so far is saved:", "已训练的部分已保存："],
    "result.use": ["In a prompt, write", "在提示词中写入"],
    "result.try": ["Try it in txt2img", "在 txt2img 中试用"],
    "result.copy": ["Copy for a prompt", "复制到提示词"],

    "log.title": ["Log", "日志"],
    "log.empty": ["It is empty.", "日志为空。"],

    "yaml.hint": [
        "All settings as `train.py --config` takes them. Edit or paste here, then use them for this model.",
        "全部设置，可用于 `train.py --config`。可在此编辑或粘贴，然后应用到此模型。",
    ],
    "yaml.use": ["Use these settings", "使用这些设置"],
    "yaml.taken": ["The model has these settings now.", "模型已使用这些设置。"],

    "settings.page": ["Settings", "设置"],
    "settings.language": ["Language", "语言"],
    "settings.running": ["When jobs run", "任务运行时间"],
    "settings.folders": ["Folders", "文件夹"],
    "settings.dataDir": ["Models, images and runs", "模型、图片和训练记录"],
    "settings.loraDir": ["Finished LoRAs", "完成的 LoRA"],
    "settings.roots": ["Folders that may be read", "可读取的文件夹"],
    "settings.everywhere": ["all that this server may read", "服务器可读取的所有文件夹"],
    "settings.title": ["All settings", "全部设置"],
    "settings.preset": ["{kind}, for {count} image|{kind}, for {count} images", "{kind}，{count} 张图片"],
    "settings.changed": ["{count} changed", "已修改 {count} 项"],
    "settings.onlyChanged": ["only the changed ones", "仅显示已修改的"],
    "settings.search": ["Search settings", "搜索设置"],
    "settings.none": ["No setting matches.", "没有符合条件的设置。"],
    "settings.reset": ["Back to the preset", "恢复预设"],
    "settings.back": ["Undo", "还原"],
    "settings.number": ["This must be a number.", "请输入数字。"],
    "settings.json": ["This must be a mapping in JSON, such as {\"betas\": [0.9, 0.99]}.", "请输入 JSON 映射，例如 {\"betas\": [0.9, 0.99]}。"],
    "settings.truth": ["true or false; empty detects it.", "请输入 true 或 false；留空自动检测。"],
    "settings.range": ["This must lie between {low} and {high}.", "取值范围为 {low} 至 {high}。"],

    "keys.title": ["API keys", "API 密钥"],
    "keys.hint": ["For programs and people on other machines. Only a digest is kept, so a key is shown once.", "供其他机器上的程序和人员使用。只保存摘要，密钥仅显示一次。"],
    "keys.name": ["What it is for", "用途"],
    "keys.scope": ["What it may do", "权限"],
    "keys.write": ["read and write", "读写"],
    "keys.read": ["read only", "只读"],
    "keys.add": ["Add", "添加"],
    "keys.secret": ["Copy it now, it is not shown again:", "请立即复制，之后不再显示："],
    "keys.revoke": ["Revoke", "撤销"],

    "operator.title": ["Set by the operator", "由运维人员设置"],
    "operator.hint": ["Where images come from and news is sent is set in a file on the server, never from here:", "图片来源和通知地址只能在服务器上的文件中设置："],
    "operator.webhooks": ["Webhooks", "Webhook"],
    "operator.fetch": ["Programs that bring images", "获取图片的程序"],
    "operator.endpoints": ["Captioning services", "描述生成服务"],
    "operator.none": ["none", "无"],
    "delivery.waiting": ["is being sent", "正在发送"],
    "delivery.failing": ["could not be sent yet", "暂时无法送达"],
    "delivery.delivered": ["delivered", "已送达"],
    "delivery.given_up": ["could not be sent", "未能送达"],

    "queue.title": ["Queue", "队列"],
    "queue.subtitle": [
        "One job at a time on each device, in this order. It survives restarts.", "每个设备一次运行一个任务，按此顺序；重启后继续。",
    ],
    "queue.pause": ["Pause after this one", "当前任务完成后暂停"],
    "queue.continue": ["Continue", "继续"],
    "queue.paused": ["The queue is paused.", "队列已暂停。"],
    "queue.none": ["Nothing is queued. Train a model, and it appears here.", "队列为空。训练模型后会显示在这里。"],
    "queue.job": ["Job", "任务"],
    "queue.what": ["What", "类型"],
    "queue.state": ["State", "状态"],
    "queue.progress": ["Progress", "进度"],
    "queue.actions": ["Actions", "操作"],
    "queue.stop": ["Stop and save", "停止并保存"],
    "queue.resume": ["Resume", "继续训练"],
    "queue.retry": ["Retry", "重试"],
    "queue.corrected": ["Retry with the model's settings", "用模型的当前设置重试"],
    "queue.cancel": ["Remove", "移除"],
    "queue.forget": ["Forget", "删除记录"],
    "queue.up": ["Move up", "上移"],
    "queue.down": ["Move down", "下移"],
    "queue.drag": ["Drag to change the order", "拖动以调整顺序"],
    "queue.schedule": ["Schedule…", "定时…"],
    "queue.window": ["Only from {window}.", "仅在 {window}。"],
    "queue.notBefore": ["Not before {time}.", "不早于 {time}。"],
    "queue.ended": ["Ended", "已结束"],
    "job.train": ["Train", "训练"],
    "job.caption": ["Caption", "生成描述"],
    "job.check": ["Check", "检查图片"],
    "job.prepare": ["Prepare", "整理图片"],
    "job.generate": ["Generate", "生成图片"],
    "job.review": ["Contact sheet", "对比图"],
    "job.update": ["Nightly update", "夜间更新"],
    "job.steps": ["step {step} of {steps}", "第 {step} / {steps} 步"],
    "job.left": ["{time} left", "剩余 {time}"],

    "time.seconds": ["{count} s", "{count} 秒"],
    "time.minutes": ["{count} min", "{count} 分钟"],
    "time.hours": ["{count} h", "{count} 小时"],
};

/** @type {import("@preact/signals").Signal<Language>} */
export const language = signal(initial());

/** @returns {Language} */
function initial() {
    // What the user chose here, else the WebUI's language, else the browser's.
    const asked = stored() || new URLSearchParams(location.search).get("lang") || navigator.language;
    return asked.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function stored() {
    try {
        return localStorage.getItem("lora-trainer-language");
    } catch {
        // A frame of another site may have no storage.
        return null;
    }
}

/** @param {Language} chosen @param {boolean} [keep] for the next visit */
export function speak(chosen, keep = true) {
    language.value = chosen;
    document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
    if (!keep) return;
    try {
        localStorage.setItem("lora-trainer-language", chosen);
    } catch {
        // Chosen for this visit only.
    }
}

/**
 * A sentence in the language of the page.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
    const both = WORDS[key];
    if (!both) throw new Error(`no words for ${key}`);
    const [one, many] = both[language.value === "zh" ? 1 : 0].split("|");
    return (values.count === 1 || many === undefined ? one : many).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** @param {number} seconds @returns {string} a duration, rounded */
export function duration(seconds) {
    if (seconds < 90) return t("time.seconds", {count: Math.max(1, Math.round(seconds))});
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? t("time.minutes", {count: minutes}) : t("time.hours", {count: (minutes / 60).toFixed(1)});
}
