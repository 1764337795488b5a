export default {
    "kind.brand_style.hint": "Images of different things in one style: colours, light, backdrop.",
    "kind.product.hint": "One thing from many sides, on many backgrounds.",
    "kind.character.hint": "One figure in many poses and places.",
    "kind.car.hint": "One car from all sides, inside and outside.",

    "new.what": "What is it?",
    "new.name": "Name",
    "new.nameHint": "What the LoRA is called, as a file and in a prompt.",
    "new.trigger": "Trigger word",
    "new.triggerHint": "A word of your own that activates the look in a prompt.",
    "new.folder": "Folder on the server (optional)",
    "new.folderHint": "Where your images already lie. Leave it empty to send them from here.",
    "new.used": "“{word}” is the trigger word of another model already; choose another.",

    "folders.browse": "Browse…",
    "folders.title": "A folder on the server",
    "folders.roots": "Folders that may be read",
    "folders.up": "Up",
    "folders.empty": "There is no folder in it.",
    "folders.more": "There are more; write the path into the field.",
    "folders.choose": "Take this folder ({count} image)|Take this folder ({count} images)",

    "model.save": "Save",
    "model.remove": "Delete this model…",
    "model.removeWhat": "{name} disappears from the list. LoRAs in the WebUI's folder stay there.",
    "model.removeKeep": "Keep its files",
    "model.removeTrash": "Move its files into the trash",

    "new.create": "Create model",
};
