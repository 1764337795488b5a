// Every sentence of the page, in English and Chinese.

import {signal} from "@preact/signals";

/** @typedef {"en" | "zh"} Language */

/** @type {Record<string, [string, string]>} a sentence's key -> English, Chinese; {name} stands for a value */
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
    "loading": ["Loading…", "加载中…"],
    "cancel": ["Cancel", "取消"],
    "close": ["Close", "关闭"],
    "retry": ["Try again", "重试"],
    "more": ["Show more", "显示更多"],

    "models.title": ["Models", "模型"],
    "models.subtitle": [
        "Every look, product, car and character you have trained.", "你训练过的每一种品牌风格、商品、汽车和角色。",
    ],
    "models.search": ["Search name or trigger word", "搜索名称或触发词"],
    "models.kinds": ["All kinds", "全部类型"],
    "models.new": ["New model", "新建模型"],
    "models.newHint": ["a brand's look, a product, a car, a character", "品牌风格、商品、汽车或角色"],
    "models.none": ["No model matches.", "没有符合条件的模型。"],
    "models.images": ["{count} images", "{count} 张图片"],
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
    "tab.compare": ["Compare", "对比"],

    "images.quality": ["Quality", "质量"],
    "images.drop": ["Drop images, folders or a zip here", "将图片、文件夹或 zip 拖放到这里"],
    "images.choose": ["Choose files", "选择文件"],
    "images.dropHint": [
        "50 to 200 sharp, varied images are a good start. Your files are never changed.",
        "50 至 200 张清晰、多样的图片是良好的开始。原文件不会被修改。",
    ],
    "images.waiting": ["{count} more wait", "还有 {count} 个等待上传"],
    "images.show": ["Show", "显示"],
    "images.show.all": ["all", "全部"],
    "images.show.included": ["included", "参与训练"],
    "images.show.excluded": ["excluded", "已排除"],
    "images.show.good": ["good", "合格"],
    "images.show.doubtful": ["doubtful", "存疑"],
    "images.show.bad": ["bad", "不合格"],
    "images.check": ["Check the images", "检查图片"],
    "images.checking": ["Checking the images", "正在检查图片"],
    "images.exclude": ["Exclude {count} bad ones", "排除 {count} 张不合格图片"],
    "images.leave": ["Exclude", "排除"],
    "images.include": ["Include again", "重新加入"],
    "images.skipped": ["Cannot be used", "无法使用"],
    "images.advice": ["What this set needs", "对这组图片的建议"],
    "images.next": ["Next: captions", "下一步：描述"],
    "counts.included": ["trained on", "参与训练"],
    "counts.excluded": ["excluded", "已排除"],
    "counts.good": ["good", "合格"],
    "counts.doubtful": ["doubtful", "存疑"],
    "counts.bad": ["bad", "不合格"],
    "counts.unchecked": ["not checked yet", "尚未检查"],
    "counts.without_caption": ["without a caption", "缺少描述"],

    "captions.search": ["Search captions; tag:red for a whole tag, none for missing ones", "搜索描述；tag:red 匹配整个标签，none 显示缺少描述的图片"],
    "captions.none": ["No image matches.", "没有符合条件的图片。"],
    "captions.of": ["Caption of {name}", "{name} 的描述"],
    "captions.captioner": ["Captioner", "描述生成器"],
    "captions.auto": ["BLIP where its model is on the server, else the file names.", "服务器上有 BLIP 模型时使用它，否则使用文件名。"],
    "captions.needs": ["It needs {what}.", "需要：{what}。"],
    "captions.begin": ["Caption the images", "生成描述"],
    "captions.captioning": ["Captioning", "正在生成描述"],
    "captions.replace": ["Find and replace", "查找与替换"],
    "captions.find": ["Find", "查找"],
    "captions.with": ["Replace with", "替换为"],
    "captions.preview": ["Preview", "预览"],
    "captions.apply": ["Change {count}", "修改 {count} 条"],
    "captions.undo": ["Undo", "撤销"],
    "captions.words": ["Words in use", "已使用的标签"],
    "captions.next": ["Next: train", "下一步：训练"],

    "train.training": ["Training", "训练"],
    "train.epoch": ["epoch {epoch} of {epochs}", "第 {epoch} / {epochs} 轮"],
    "train.rate": ["{rate} steps/s", "{rate} 步/秒"],
    "train.memory": ["{size} GB", "{size} GB"],
    "train.loss": ["Loss, and its trend: it should fall, then level off.", "损失及其趋势：应先下降，然后趋于平稳。"],
    "train.before": ["before training", "训练前"],
    "train.after": ["after epoch {epoch}", "第 {epoch} 轮后"],
    "train.done": ["The LoRA is ready:", "LoRA 已完成："],
    "train.estimate": ["Estimate", "预估"],
    "train.steps": ["steps", "步数"],
    "train.time": ["time, without previews", "时间（不含预览）"],
    "train.needed": ["memory needed", "所需内存"],
    "train.free": ["free now", "当前可用"],
    "train.file": ["LoRA file", "LoRA 文件"],
    "train.start": ["Start training", "开始训练"],
    "train.queue": ["Queue another training", "再排队一次训练"],
    "train.versions": ["Versions", "版本"],
    "train.ofSteps": ["{steps} steps", "{steps} 步"],

    "settings.title": ["All settings", "全部设置"],
    "settings.changed": ["{count} changed", "已修改 {count} 项"],
    "settings.search": ["Search settings", "搜索设置"],
    "settings.reset": ["Back to the preset", "恢复预设"],
    "settings.back": ["Undo", "还原"],
    "settings.number": ["This must be a number.", "请输入数字。"],
    "settings.json": ["This must be a mapping in JSON, such as {\"betas\": [0.9, 0.99]}.", "请输入 JSON 映射，例如 {\"betas\": [0.9, 0.99]}。"],
    "settings.truth": ["true or false; empty detects it.", "请输入 true 或 false；留空自动检测。"],
    "settings.range": ["This must lie between {low} and {high}.", "取值范围为 {low} 至 {high}。"],

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
    "queue.cancel": ["Remove", "移除"],
    "queue.forget": ["Forget", "删除记录"],
    "queue.up": ["Move up", "上移"],
    "queue.down": ["Move down", "下移"],
    "queue.drag": ["Drag to change the order", "拖动以调整顺序"],
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
    const asked = new URLSearchParams(location.search).get("lang") || stored() || navigator.language;
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

/** @param {Language} chosen */
export function speak(chosen) {
    language.value = chosen;
    document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
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
    return both[language.value === "zh" ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** @param {number} seconds @returns {string} a duration, rounded */
export function duration(seconds) {
    if (seconds < 90) return t("time.seconds", {count: Math.max(1, Math.round(seconds))});
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? t("time.minutes", {count: minutes}) : t("time.hours", {count: (minutes / 60).toFixed(1)});
}
