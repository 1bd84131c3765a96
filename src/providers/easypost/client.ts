import { default as easypost } from "@easypost/api";

/**
 * EasyPost's client. The package's types describe its CommonJS build, whose class is one level deeper than in the module
 * that Node loads here.
 */
export const EasyPostClient: typeof easypost.default = "default" in easypost ? easypost.default : easypost;
