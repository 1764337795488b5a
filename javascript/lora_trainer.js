// The live side of the LoRA Trainer tab. The server keeps the state; the page only asks for it, so it survives a reload.

(function() {
    const PERIOD = 1500;
    const HINTS = 8;
    let last = "";
    // Which cards have been asked for, and the list that was on the page then: the WebUI may put a new one there.
    const asked = new Map();

    function element(tag, attributes, ...children) {
        const made = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes || {})) {
            made.setAttribute(name, value);
        }
        made.append(...children);
        return made;
    }

    // Shows the server that the question comes from its page.
    function pageKey() {
        const panel = gradioApp().querySelector("#lt_live");
        return panel ? panel.dataset.page : "";
    }

    function duration(seconds) {
        const whole = Math.round(seconds);
        const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
        return parts.map((part, place) => (place ? String(part).padStart(2, "0") : part)).join(":");
    }

    function words(told) {
        return [told.trigger, `<lora:${told.name}:0.8>`].filter(Boolean).join(" ");
    }

    function headline(told) {
        const name = told.name;
        const text = {
            waiting: `${name} waits until the WebUI is free.`,
            preparing: `${name}: preparing`,
            training: `${name} is being trained.`,
            done: `${name} is done: write ${words(told)} into a prompt.`,
            stopped: `${name} was stopped at step ${told.step || 0}; Resume goes on from there.`,
            failed: `${name} failed.`,
        }[told.status];
        if (told.status === "preparing" && told.prepare) {
            return `${text} ${told.prepare.what} ${told.prepare.done} of ${told.prepare.total}.`;
        }
        return told.stopping ? `${name} stops after this step.` : text;
    }

    function bar(told) {
        const share = told.steps ? (told.step || 0) / told.steps : 0;
        const inner = element("div", {style: `width: ${(100 * share).toFixed(1)}%`});
        return element("div", {class: "lt_bar", title: `${Math.round(100 * share)} %`}, inner);
    }

    function facts(told) {
        const row = element("div", {class: "lt_facts"});
        const add = (label, value) => row.append(element("span", {}, `${label} `, element("b", {}, value)));
        if (told.steps) add("step", `${told.step || 0} of ${told.steps}`);
        if (told.epoch) add("epoch", `${told.epoch} of ${told.epochs}`);
        if (told.loss !== undefined && told.loss !== null) add("loss", told.loss.toFixed(4));
        if (told.rate) add("steps a second", told.rate.toFixed(2));
        if (told.eta) add("left", duration(told.eta));
        if (told.memory_mb) add("memory", `${(told.memory_mb / 1024).toFixed(1)} GB`);
        return row;
    }

    // One picture is harder than another, so single losses jump; the mean of those around each shows where it goes.
    function trend(points) {
        const reach = Math.max(1, Math.round(points.length / 16));
        return points.map(([step], place) => {
            const near = points.slice(Math.max(0, place - reach), place + reach + 1);
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

    // The newest on top: what the LoRA can do now, below it what it could do before.
    function strips(told) {
        const rows = new Map();
        for (const preview of told.previews) {
            // An earlier run of this name drew files of the same names, which the page may still hold.
            const path = encodeURIComponent(preview.path);
            const source = `lora-trainer/picture?full=true&path=${path}&run=${told.started}&page=${pageKey()}`;
            const epoch = preview.epoch || 0;
            if (!rows.has(epoch)) {
                const label = epoch ? `after epoch ${epoch}` : "before";
                rows.set(epoch, element("div", {class: "lt_strip"}, element("span", {}, label)));
            }
            rows.get(epoch).append(element("img", {src: source, loading: "lazy", alt: ""}));
        }
        return element("div", {class: "lt_strips"}, ...[...rows.values()].reverse());
    }

    function tryIt(told) {
        const button = element("button", {id: "lt_try", class: "lt_try"}, "Try it in txt2img");
        button.addEventListener("click", () => {
            const prompt = gradioApp().querySelector("#txt2img_prompt textarea");
            if (!prompt.value.includes(`<lora:${told.name}:`)) {
                prompt.value = [prompt.value.trim(), words(told)].filter(Boolean).join(" ");
                updateInput(prompt);
            }
            switch_to_txt2img();
        });
        return button;
    }

    // The WebUI's own refresh button would list the checkpoints, too, and with --ckpt choose that one again.
    async function showCard(tab, name, made) {
        const cards = gradioApp().querySelector(`#${tab}_lora_cards`);
        const known = `${tab} ${name} ${made}`;
        const here = cards && cards.querySelector(`.card[data-name="${CSS.escape(name)}"]`);
        if (!cards || asked.has(known) && (here || asked.get(known) === cards)) return;
        asked.set(known, cards);
        const question = new URLSearchParams({page: "lora", tabname: tab, name});
        const answer = await fetch(`sd_extra_networks/get-single-card?${question}`);
        if (!answer.ok) return;
        const holder = element("div");
        holder.innerHTML = (await answer.json()).html;
        const card = holder.firstElementChild;
        if (!card) return;
        if (here) here.replaceWith(card);
        else cards.append(card);
        cards.querySelectorAll(".nocards").forEach((none) => none.remove());
        if (typeof applyExtraNetworkFilter === "function") applyExtraNetworkFilter(`${tab}_lora`);
    }

    async function showCards(told) {
        for (const [name, made] of Object.entries(told.made || {})) {
            for (const tab of ["txt2img", "img2img"]) {
                await showCard(tab, name, made);
            }
        }
    }

    function show(told) {
        const panel = gradioApp().querySelector("#lt_live");
        // What to do first stands there until something is being trained.
        if (!panel || told.status === "idle") return;
        const text = JSON.stringify(told);
        if (text === last && panel.childElementCount > 1) return;
        last = text;
        const parts = [element("p", {id: "lt_headline"}, headline(told))];
        if (told.error) parts.push(element("p", {class: "lt_bad"}, told.error));
        parts.push(bar(told), facts(told));
        if (told.status === "done") parts.push(tryIt(told));
        if (told.curve && told.curve.length > 1) parts.push(curve(told.curve));
        if (told.previews && told.previews.length) parts.push(strips(told));
        const hints = [...(told.skipped || []).map((one) => `left out: ${one.picture} (${one.reason})`),
            ...(told.warnings || [])];
        if (hints.length > HINTS) hints.splice(HINTS, hints.length, `and ${hints.length - HINTS} more`);
        for (const hint of hints) parts.push(element("p", {class: "lt_hint"}, hint));
        panel.replaceChildren(...parts);
    }

    async function ask() {
        try {
            const answer = await fetch("lora-trainer/report", {headers: {"X-LoRA-Trainer-Page": pageKey()}});
            if (answer.ok) {
                const told = await answer.json();
                show(told);
                await showCards(told);
            }
        } catch (error) {
            // The server is restarting; the next question will be answered.
        }
        setTimeout(ask, PERIOD);
    }

    onUiLoaded(ask);
}());
