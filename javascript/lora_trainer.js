// The LoRA Trainer in the WebUI's page: its tab shows the studio in a frame; beside that notices, the cards of new LoRAs,
// and in txt2img and img2img what a request waits for. It works in every gradio: all it needs of that is one element.

(function() {
    const PERIOD = 1500;
    const NOTICE = 12000;
    const LOWEST = 480;
    const TABS = ["txt2img", "img2img"];
    const PLACE = "lora-trainer-place";
    const TRY = "lora-trainer/try";
    const WORDS = {
        train: ["Waits: a LoRA is being trained ({name})", "等待中：正在训练 LoRA（{name}）"],
        other: ["Waits: the LoRA Trainer is using the model ({name})", "等待中：LoRA Trainer 正在使用模型（{name}）"],
        close: ["Close", "关闭"],
    };
    let frame = null;
    // Time of the newest notice that was shown; null before the first answer, as notices from before are not shown.
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

    const holder = () => gradioApp().querySelector("#lora_trainer_studio");
    // Relative to the page: under a sub-path and behind a proxy, too.
    const address = (path) => new URL(`lora-trainer/${path}`, document.baseURI);
    const isChinese = () => typeof opts === "object" && /^(zh|chinese)/i.test(opts.localization || "");
    const words = (key, name) => WORDS[key][isChinese() ? 1 : 0].replace("{name}", () => name);
    const theme = () => (document.body.classList.contains("dark") ? "dark" : "light");

    // Shows the server that requests come from its page: images and streams of events cannot carry a header.
    function setCookie() {
        const path = address("").pathname.replace(/\/$/, "");
        const value = `lora-trainer-page-${location.port}=${holder().dataset.page}`;
        document.cookie = `${value}; path=${path}; SameSite=Strict`;
    }

    // The studio scrolls by itself: its frame fills the window below the WebUI's own head.
    function fit() {
        if (!frame || !frame.offsetParent) return;
        const top = frame.getBoundingClientRect().top + window.scrollY;
        frame.style.height = `${Math.max(LOWEST, window.innerHeight - top - 8)}px`;
    }

    function stored(place) {
        try {
            if (place !== undefined) sessionStorage.setItem(PLACE, place);
            return sessionStorage.getItem(PLACE) || "";
        } catch (error) {
            // The browser keeps nothing; the studio then opens at its start.
            return "";
        }
    }

    function open() {
        setCookie();
        const url = address("studio/");
        url.searchParams.set("theme", theme());
        if (isChinese()) url.searchParams.set("lang", "zh");
        url.hash = stored();
        frame = element("iframe", {title: "LoRA Trainer", src: url.href});
        frame.addEventListener("load", () => {
            const {contentWindow: inner, contentDocument: own} = frame;
            // None of a page that is not ours.
            if (!own) return;
            inner.addEventListener("hashchange", () => stored(inner.location.hash));
            follow();
        });
        holder().replaceChildren(frame);
        fit();
    }

    // The WebUI's theme may have changed since the frame was made.
    function follow() {
        if (frame && frame.contentDocument) frame.contentDocument.documentElement.dataset.theme = theme();
    }

    function mount() {
        const place = holder();
        if (!place) return;
        // The first sight of the tab; before that the studio costs the page nothing.
        new IntersectionObserver((entries) => {
            if (!entries.some((entry) => entry.isIntersecting)) return;
            if (frame) fit();
            else open();
        }).observe(place);
        addEventListener("resize", fit);
        new MutationObserver(follow).observe(document.body, {attributes: true, attributeFilter: ["class"]});
        addEventListener("message", (event) => {
            const ours = frame && event.source === frame.contentWindow && event.origin === location.origin;
            if (ours && event.data && event.data.type === TRY) tryIt(event.data);
        });
    }

    // Puts text behind what the user has typed, unless it is there: of a LoRA one is enough, whatever its strength.
    function append(selector, text) {
        const field = gradioApp().querySelector(`${selector} textarea`);
        if (!field || typeof text !== "string" || !text.trim()) return;
        const tags = text.match(/<lora:[^:>]+:/g) || [text.trim()];
        if (tags.every((tag) => field.value.includes(tag))) return;
        field.value = [field.value.trim(), text.trim()].filter(Boolean).join(" ");
        updateInput(field);
    }

    function tryIt({prompt, negative, checkpoint}) {
        append("#txt2img_prompt", prompt);
        append("#txt2img_neg_prompt", negative);
        switch_to_txt2img();
        const chosen = typeof opts === "object" ? opts.sd_model_checkpoint || "" : "";
        const other = typeof checkpoint === "string" && checkpoint && !chosen.includes(checkpoint);
        // Not every relative of the WebUI has a way to choose one.
        if (other && typeof selectCheckpoint === "function") selectCheckpoint(checkpoint);
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
        const box = element("div");
        box.innerHTML = (await response.json()).html;
        const card = box.firstElementChild;
        if (!card) return;
        if (here) here.replaceWith(card);
        else cards.append(card);
        cards.querySelectorAll(".nocards").forEach((none) => none.remove());
        if (typeof applyExtraNetworkFilter === "function") applyExtraNetworkFilter(`${tab}_lora`);
    }

    async function showCards(made) {
        for (const [name, written] of Object.entries(made)) {
            for (const tab of TABS) {
                await showCard(tab, name, written);
            }
        }
    }

    function showNotice(notice) {
        const time = notice ? notice.time : 0;
        if (noticed !== null && time > noticed) {
            const close = element("button", {type: "button", "aria-label": words("close")}, "\u00d7");
            const box = element("div", {class: "lora_trainer_notice", role: "alert"}, notice.text, close);
            document.querySelectorAll(".lora_trainer_notice").forEach((older) => older.remove());
            document.body.append(box);
            close.addEventListener("click", () => box.remove());
            setTimeout(() => box.remove(), NOTICE);
        }
        noticed = Math.max(time, noticed || 0);
    }

    // The WebUI keeps the task that this browser waits for by the name of its tab.
    function waitingText(tab, {running, waiting}) {
        if (!running || !waiting.includes(localStorage.getItem(`${tab}_task_id`))) return "";
        const share = running.share === null ? "" : `, ${Math.round(100 * running.share)} %`;
        return words(running.kind === "train" ? "train" : "other", `${running.name}${share}`);
    }

    function showWaiting(status) {
        for (const tab of TABS) {
            const box = gradioApp().querySelector(`#${tab}_generate_box`);
            if (!box) continue;
            const text = waitingText(tab, status);
            let line = box.parentNode.querySelector(".lora_trainer_waits");
            if (!text) {
                if (line) line.remove();
            } else {
                if (!line) {
                    line = element("p", {class: "lora_trainer_waits", role: "status"});
                    box.after(line);
                }
                if (line.textContent !== text) line.textContent = text;
            }
        }
    }

    async function poll() {
        const place = holder();
        if (place && !document.hidden) {
            try {
                const response = await fetch(address("page"), {headers: {"X-LoRA-Trainer-Page": place.dataset.page}});
                if (response.ok) {
                    const status = await response.json();
                    showNotice(status.notice);
                    showWaiting(status);
                    await showCards(status.made);
                }
            } catch (error) {
                // The server is restarting; the next request will succeed.
            }
        }
        setTimeout(poll, PERIOD);
    }

    onUiLoaded(() => {
        mount();
        poll();
    });
}());
