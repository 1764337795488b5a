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
