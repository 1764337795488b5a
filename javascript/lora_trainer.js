// The live side of the LoRA Trainer tab. The server keeps the state; the page only requests it, so it survives a reload.

(function() {
    const PERIOD = 1500;
    const HINTS = 8;
    const NOTICE = 12000;
    let last = "";
    // Time of the newest notice that was shown; null before the first report, as notices from before are not shown.
    let noticed = null;
    // The cards that have been requested, and the list that was on the page then: the WebUI may put a new one there.
    const requested = new Map();

    function element(tag, attributes, ...children) {
        const node = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes || {})) {
            node.setAttribute(name, value);
        }
        node.append(...children);
        return node;
    }

    // Shows the server that the request comes from its page.
    function pageKey() {
        const panel = gradioApp().querySelector("#lt_live");
        return panel ? panel.dataset.page : "";
    }

    function duration(seconds) {
        const whole = Math.round(seconds);
        const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
        return parts.map((part, index) => (index ? String(part).padStart(2, "0") : part)).join(":");
    }

    function promptText(report) {
        return [report.trigger, `<lora:${report.name}:0.8>`].filter(Boolean).join(" ");
    }

    function headline(report) {
        const name = report.name;
        const text = {
            waiting: `${name} is queued. ${report.waits_for || ""}`.trim(),
            starting: `${name} starts as soon as the WebUI is free.`,
            preparing: `${name}: preparing`,
            training: `${name} is being trained.`,
            done: `${name} is done: use ${promptText(report)} in a prompt.`,
            stopped: `${name} was stopped at step ${report.step || 0}; Resume goes on from there.`,
            failed: `${name} failed.`,
        }[report.status];
        if (report.status === "preparing" && report.prepare) {
            return `${text} ${report.prepare.what} ${report.prepare.done} of ${report.prepare.total}.`;
        }
        return report.stopping ? `${name} stops after this step.` : text;
    }

    function bar(report) {
        const share = report.steps ? (report.step || 0) / report.steps : 0;
        const inner = element("div", {style: `width: ${(100 * share).toFixed(1)}%`});
        return element("div", {class: "lt_bar", title: `${Math.round(100 * share)} %`}, inner);
    }

    function facts(report) {
        const row = element("div", {class: "lt_facts"});
        const add = (label, value) => row.append(element("span", {}, `${label} `, element("b", {}, value)));
        if (report.steps) add("step", `${report.step || 0} of ${report.steps}`);
        if (report.epoch) add("epoch", `${report.epoch} of ${report.epochs}`);
        if (report.loss !== undefined && report.loss !== null) add("loss", report.loss.toFixed(4));
        if (report.rate) add("steps/s", report.rate.toFixed(2));
        if (report.eta) add("ETA", duration(report.eta));
        if (report.memory_mb) add("memory", `${(report.memory_mb / 1024).toFixed(1)} GB`);
        return row;
    }

    // One image is harder than another, so single losses jump; the mean of those around each shows where it goes.
    function trend(points) {
        const reach = Math.max(1, Math.round(points.length / 16));
        return points.map(([step], index) => {
            const near = points.slice(Math.max(0, index - reach), index + reach + 1);
            return [step, near.reduce((sum, [, loss]) => sum + loss, 0) / near.length];
        });
    }

    function curve(points) {
        const space = "http://www.w3.org/2000/svg";
        const drawing = document.createElementNS(space, "svg");
        drawing.setAttribute("class", "lt_curve");
        drawing.setAttribute("viewBox", "0 0 100 100");
        drawing.setAttribute("preserveAspectRatio", "none");
        const highest = Math.max(...points.map(([, loss]) => loss));
        const [first, end] = [points[0][0], points[points.length - 1][0]];
        for (const [name, shown] of [["lt_raw", points], ["lt_trend", trend(points)]]) {
            const line = document.createElementNS(space, "polyline");
            line.setAttribute("class", name);
            line.setAttribute("points", shown.map(([step, loss]) =>
                `${100 * (step - first) / Math.max(1, end - first)},${98 - 94 * loss / highest}`).join(" "));
            drawing.append(line);
        }
        return element("figure", {class: "lt_loss"}, drawing,
            element("figcaption", {}, "Loss, and its trend: it should fall, then level off."));
    }

    // The trainings that come after this one.
    function queue(jobs) {
        const items = jobs.map((job) => element("li", {}, `${job.name} ${job.waits_for}`.trim()));
        return element("div", {class: "lt_queue"}, element("p", {}, "Then:"), element("ol", {}, ...items));
    }

    // The newest on top.
    function strips(report) {
        const rows = new Map();
        for (const preview of report.previews) {
            // An earlier run of this name wrote previews of the same names, which the browser may still cache.
            const path = encodeURIComponent(preview.path);
            const source = `lora-trainer/picture?full=true&path=${path}&run=${report.started}&page=${pageKey()}`;
            const epoch = preview.epoch || 0;
            if (!rows.has(epoch)) {
                const label = epoch ? `after epoch ${epoch}` : "before";
                rows.set(epoch, element("div", {class: "lt_strip"}, element("span", {}, label)));
            }
            rows.get(epoch).append(element("img", {src: source, loading: "lazy", alt: ""}));
        }
        return element("div", {class: "lt_strips"}, ...[...rows.values()].reverse());
    }

    function tryIt(report) {
        const button = element("button", {id: "lt_try", class: "lt_try"}, "Try it in txt2img");
        button.addEventListener("click", () => {
            const prompt = gradioApp().querySelector("#txt2img_prompt textarea");
            if (!prompt.value.includes(`<lora:${report.name}:`)) {
                prompt.value = [prompt.value.trim(), promptText(report)].filter(Boolean).join(" ");
                updateInput(prompt);
            }
            switch_to_txt2img();
        });
        return button;
    }

    // The WebUI's own refresh button would list the checkpoints, too, and with --ckpt choose that one again.
    async function showCard(tab, name, written) {
        const cards = gradioApp().querySelector(`#${tab}_lora_cards`);
        const known = `${tab} ${name} ${written}`;
        const here = cards && cards.querySelector(`.card[data-name="${CSS.escape(name)}"]`);
        if (!cards || requested.has(known) && (here || requested.get(known) === cards)) return;
        requested.set(known, cards);
        const query = new URLSearchParams({page: "lora", tabname: tab, name});
        const response = await fetch(`sd_extra_networks/get-single-card?${query}`);
        if (!response.ok) return;
        const holder = element("div");
        holder.innerHTML = (await response.json()).html;
        const card = holder.firstElementChild;
        if (!card) return;
        if (here) here.replaceWith(card);
        else cards.append(card);
        cards.querySelectorAll(".nocards").forEach((none) => none.remove());
        if (typeof applyExtraNetworkFilter === "function") applyExtraNetworkFilter(`${tab}_lora`);
    }

    async function showCards(report) {
        for (const [name, written] of Object.entries(report.made || {})) {
            for (const tab of ["txt2img", "img2img"]) {
                await showCard(tab, name, written);
            }
        }
    }

    function show(report) {
        const panel = gradioApp().querySelector("#lt_live");
        // What to do first stands there until something is being trained.
        if (!panel || report.status === "idle") return;
        const text = JSON.stringify(report);
        if (text === last && panel.childElementCount > 1) return;
        last = text;
        const parts = [element("p", {id: "lt_headline"}, headline(report))];
        if (report.error) parts.push(element("p", {class: "lt_bad"}, report.error));
        parts.push(bar(report), facts(report));
        if (report.status === "done") parts.push(tryIt(report));
        if (report.curve && report.curve.length > 1) parts.push(curve(report.curve));
        if (report.previews && report.previews.length) parts.push(strips(report));
        if (report.waiting && report.waiting.length) parts.push(queue(report.waiting));
        const hints = [...(report.skipped || []).map((one) => `skipped: ${one.picture} (${one.reason})`),
            ...(report.warnings || [])];
        if (hints.length > HINTS) hints.splice(HINTS, hints.length, `and ${hints.length - HINTS} more`);
        for (const hint of hints) parts.push(element("p", {class: "lt_hint"}, hint));
        panel.replaceChildren(...parts);
    }

    function showNotice(report) {
        const time = report.notice ? report.notice.time : 0;
        if (noticed !== null && time > noticed) {
            const close = element("button", {type: "button", "aria-label": "Close"}, "\u00d7");
            const box = element("div", {class: "lt_notice", role: "alert"}, report.notice.text, close);
            document.querySelectorAll(".lt_notice").forEach((older) => older.remove());
            document.body.append(box);
            close.addEventListener("click", () => box.remove());
            setTimeout(() => box.remove(), NOTICE);
        }
        noticed = Math.max(time, noticed || 0);
    }

    async function poll() {
        try {
            const response = await fetch("lora-trainer/report", {headers: {"X-LoRA-Trainer-Page": pageKey()}});
            if (response.ok) {
                const report = await response.json();
                showNotice(report);
                show(report);
                await showCards(report);
            }
        } catch (error) {
            // The server is restarting; the next request will succeed.
        }
        setTimeout(poll, PERIOD);
    }

    onUiLoaded(poll);
}());
